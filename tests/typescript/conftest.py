"""Fixtures: the packed client in an empty project, compiled under `tsc --strict`."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support import ROOT

CLIENT = ROOT / "clients" / "typescript"
SOURCES = Path(__file__).parent
COMPILER_OPTIONS = {
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "module": "nodenext",
    "types": ["node"],
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "verbatimModuleSyntax": True,
    "skipLibCheck": False,
    "outDir": "out",
    "rootDir": ".",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("npm") is None:
        for item in items:
            if SOURCES in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="LEFT OUT: the TypeScript client's tests need npm"))


def npm(*arguments: str, cwd: Path) -> str:
    """Run npm; gives what it printed."""
    command = ["npm", *arguments, "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packed(directory: Path) -> Path:
    """The tarball of the client, built from a copy of its sources, so that no test writes into the tree."""
    copy = directory / "client"
    ignored = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(CLIENT, copy, ignore=ignored)
    npm("ci", cwd=copy)
    name: str = json.loads(npm("pack", "--json", "--pack-destination", str(directory), cwd=copy))[0]["filename"]
    return directory / name


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty project with the packed client, and this directory's programs compiled in it.

    The processes of one run of the tests share it: the first makes it, while the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "typescript"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "made").exists():
            make_project(directory)
            (directory / "made").touch()
    return directory / "project"


def make_project(directory: Path) -> None:
    """Make the project below `directory`."""
    tarball = packed(directory)
    made = directory / "project"
    made.mkdir()
    (made / "package.json").write_text(json.dumps({"private": True, "type": "module"}))
    versions = json.loads((CLIENT / "package.json").read_text())["devDependencies"]
    tools = [f"{name}@{versions[name]}" for name in ("typescript", "@types/node")]
    npm("install", str(tarball), *tools, cwd=made)
    (made / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILER_OPTIONS, "include": ["*.ts"]}))
    for source in SOURCES.iterdir():
        if source.suffix in (".ts", ".mjs", ".cjs"):
            shutil.copy(source, made)
    done = compiled(made)
    assert done.returncode == 0, done.stdout


def part_of(project: Path, files: dict[str, str]) -> Path:
    """A directory of its own in the project, with these files."""
    part = Path(tempfile.mkdtemp(dir=project, prefix="part-"))
    options = COMPILER_OPTIONS | {"typeRoots": ["../node_modules/@types"]}
    (part / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
    for name, text in files.items():
        (part / name).write_text(text)
    return part


def compiled(directory: Path) -> subprocess.CompletedProcess[str]:
    """Compile what stands in a directory of the project."""
    home = directory if (directory / "node_modules").exists() else directory.parent
    command = [str(home / "node_modules/.bin/tsc")]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=200)


def node(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Node in the project."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")} | variables
    return subprocess.run(
        ["node", *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
