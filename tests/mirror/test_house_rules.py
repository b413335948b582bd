"""Who may do what inside the mirror, read from its source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import avocet_grpc.mirror

ROOM = Path(avocet_grpc.mirror.__file__).parent
MODULES = sorted(ROOM.rglob("*.py"))
CALLS = {"os", "time", "fcntl", "shutil", "pathlib.Path.open"}
"""What touches the disk or a clock."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOM))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_assigns_to_an_attribute_of_another_object(path: Path) -> None:
    assert foreign_assignments(path.read_text()) == []


def test_an_assignment_to_another_objects_attribute_would_be_found() -> None:
    assert foreign_assignments("self.a = 1\nimage.trust = 2\nx.y, self.b = 1, 2\nself._image.level += 1") == [2, 3, 4]


def foreign_assignments(source: str) -> list[int]:
    """Lines that assign to an attribute of anything but `self`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        parts = [one for target in targets for one in ([*target.elts] if isinstance(target, ast.Tuple) else [target])]
        for one in parts:
            if isinstance(one, ast.Attribute) and not (isinstance(one.value, ast.Name) and one.value.id == "self"):
                found.append(one.lineno)
    return sorted(found)


@pytest.mark.parametrize("path", [one for one in MODULES if one.parent.name != "fs"], ids=name_of)
def test_only_the_room_of_system_calls_imports_the_disk_and_the_time(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not CALLS & set(names), names
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "open", ast.unparse(node)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
