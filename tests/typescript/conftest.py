"""Fixtures: the packed client in an empty project, compiled under `tsc --strict`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
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
    """An empty project with the packed client, and this directory's programs compiled in it."""
    directory = tmp_path_factory.mktemp("typescript")
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
    done = subprocess.run([made / "node_modules/.bin/tsc"], cwd=made, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout
    return made


def node(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Node in the project."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")} | variables
    return subprocess.run(
        ["node", *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=60
    )
