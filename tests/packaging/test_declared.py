"""What the packages declare about themselves."""

from __future__ import annotations

import ast
import json
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

import avocet_client
import avocet_grpc
from tests.packaging.wheels import PACKAGES, PYTHONS, metadata_of, oldest, requirements_of
from tests.support import ROOT

EXTRA_OF = {
    "avocet_client/cli/": "cli",
    "avocet_client/datasets.py": "datasets",
    "avocet_client/legacy/": "web",
    "avocet_client/torch.py": "torch",
    "avocet_client/web/": "web",
    "avocet_grpc/cli/database.py": "postgres",
    "avocet_grpc/cli/keeper.py": "postgres",
    "avocet_grpc/maintenance/keeping.py": "postgres",
    "avocet_grpc/maintenance/move.py": "postgres",
    "avocet_grpc/maintenance/verify_store.py": "postgres",
    "avocet_grpc/store/postgres/": "postgres",
}
"""The parts of both packages that need an extra."""
PROJECTS = packages_distributions()
BROUGHT = {"numpy": "datasets"}
"""Projects that another one brings as part of its own interface."""
NAMESPACE = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos"}


def imported(file: Path) -> set[str]:
    """The modules that the file imports, relative imports left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def project_of(module: str) -> str | None:
    """The project that the module comes from; None for the standard library and for our own packages."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in ("avocet_client", "avocet_grpc", "__future__"):
        return None
    if top == "google":
        return next((name for prefix, name in NAMESPACE.items() if f"{module}.".startswith(f"{prefix}.")), None)
    return canonicalize_name(PROJECTS.get(top, [top])[0])


def files() -> list[tuple[str, Path]]:
    client, server = ROOT / "clients/python", ROOT
    ours = [("avocet-client", path) for path in sorted(client.glob("avocet_client/**/*.py"))]
    return ours + [("avocet-grpc", path) for path in sorted(server.glob("avocet_grpc/**/*.py"))]


def declared(package: str, file: Path) -> set[str]:
    shown = str(file.relative_to(PACKAGES[package]))
    extras = [extra for part, extra in EXTRA_OF.items() if shown.startswith(part)]
    return {canonicalize_name(one.name) for one in requirements_of(package, *extras)}


def test_each_module_imports_only_projects_that_its_package_declares() -> None:
    missing = {
        (str(file.relative_to(ROOT)), project)
        for package, file in files()
        for module in imported(file)
        if (project := project_of(module)) and not {project, BROUGHT.get(project)} & declared(package, file)
    }
    assert missing == set()
    assert len(files()) > 80


@pytest.mark.parametrize("package", PACKAGES)
def test_each_dependency_declares_the_oldest_version_that_will_do(package: str) -> None:
    extras = ["cli", "datasets", "torch", "web"] if package == "avocet-client" else ["otel"]
    pins = oldest(requirements_of(package, *extras))
    assert pins and all("==" in pin for pin in pins)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_its_licence_and_its_pythons_and_cannot_be_uploaded_by_mistake(package: str) -> None:
    project = metadata_of(package)
    assert project["license"] and project["readme"] and project["description"]
    assert "Private :: Do Not Upload" in project["classifiers"]
    versions = {line.rpartition(" ")[2] for line in project["classifiers"] if line.startswith("Programming Language")}
    assert set(PYTHONS) <= versions
    assert project["requires-python"] == f">={PYTHONS[0]}"


def test_every_package_brings_the_text_of_the_one_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "No licence is granted" in text
    for package, directory in PACKAGES.items():
        assert metadata_of(package)["license"] == "LicenseRef-Proprietary"
        assert metadata_of(package)["license-files"] == ["LICENSE"]
        assert (directory / "LICENSE").read_text() == text
    # npm's word for it.
    assert json.loads((ROOT / "clients/typescript/package.json").read_text())["license"] == "UNLICENSED"
    assert (ROOT / "clients/typescript/LICENSE").read_text() == text


def test_both_packages_have_the_version_that_the_changelog_begins_with() -> None:
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].split()[1] == avocet_grpc.__version__ == avocet_client.__version__
