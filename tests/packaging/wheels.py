"""The two packages as wheels, and empty environments to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support import ROOT

PACKAGES = {"avocet-client": ROOT / "clients/python", "avocet-grpc": ROOT}
PYTHONS = ("3.11", "3.12", "3.13")
INSTALL_SECONDS = 900


@dataclass(frozen=True)
class Environment:
    """An environment that has nothing but pip and what a test installs."""

    directory: Path

    @property
    def bin(self) -> Path:
        return self.directory / "bin"

    def run(self, program: str, *arguments: str, code: int = 0, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, away from the tree and with no variable of the tests'."""
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.directory), "COLUMNS": "160"}
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.directory,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def install(self, *what: str) -> Environment:
        pip = [str(self.bin / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        done = subprocess.run([*pip, *what], capture_output=True, text=True, timeout=INSTALL_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
        return self


def empty_environment(directory: Path, python: str = sys.executable) -> Environment:
    subprocess.run([python, "-m", "venv", str(directory)], check=True, timeout=120)
    return Environment(directory)


def build_wheel(package: str, directory: Path) -> Path:
    """Build the package's wheel in `directory`, from a copy of the files that git knows: no build touches the tree."""
    source, root = directory / f"{package}-source", PACKAGES[package]
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        if (root / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, source / name)
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(wheels), str(source)], check=True, timeout=INSTALL_SECONDS)
    (wheel,) = wheels.glob(f"{package.replace('-', '_')}-*.whl")
    return wheel


def metadata_of(package: str) -> dict[str, Any]:
    """The table `project` of the package's pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((PACKAGES[package] / "pyproject.toml").read_text())["project"]
    return project


def requirements_of(package: str, *extras: str) -> list[Requirement]:
    """What the package, with these extras and those that they name, requires of other projects."""
    project = metadata_of(package)
    texts = [*project["dependencies"], *(text for name in extras for text in project["optional-dependencies"][name])]
    found: list[Requirement] = []
    for one in map(Requirement, texts):
        name = canonicalize_name(one.name)
        found += requirements_of(name, *sorted(one.extras)) if name in PACKAGES else [one]
    return found


def oldest(requirements: list[Requirement]) -> list[str]:
    """The requirements at the lowest version that all of them allow. Fails if one declares no lowest version."""
    lowest: dict[str, tuple[Version, str]] = {}
    for one in requirements:
        (version,) = [Version(each.version) for each in one.specifier if each.operator in (">=", "==", "~=")]
        marker = f"; {one.marker}" if one.marker else ""
        lowest[one.name] = max(lowest.get(one.name, (version, marker)), (version, marker))
    return [f"{name}=={version}{marker}" for name, (version, marker) in lowest.items()]


def interpreter(version: str) -> str | None:
    """A Python of this version: the present one, one on the PATH, or one of pyenv's. None if there is none."""
    beside = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [sys.executable, shutil.which(f"python{version}"), *map(str, beside.glob(f"{version}.*/bin/python"))]
    for path in filter(None, found):
        asked = [path, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=60)
        if answer.stdout.strip() == version:
            return path
    return None
