"""The map in docs/architecture.md is true for the tree, and each room has a manual."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from avocet_grpc.layout import DataDirectory
from tests.support import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
SERVER = ROOT / "avocet_grpc"
CLIENT = ROOT / "clients/python/avocet_client"
ROOMS = sorted(path.parent for root in (SERVER, CLIENT) for path in root.rglob("__init__.py"))
GENERATED = re.compile(r"_pb2|corrections_pb|/web/page/|/src/gen/")


def modules_on_the_page() -> list[str]:
    """Each module's row, as a path below the package: the rows of a room follow the row of the room itself."""
    found, room = [], ""
    for bold, plain in re.findall(
        r"^\| (?:\*\*`([\w/]+)`\*\*|`(\w+)`) \|",
        PAGE.partition("## Every module")[2].partition("## The Python")[0],
        re.M,
    ):
        room = room if plain else bold.removeprefix("avocet_grpc/")
        found += [f"{room}{plain}.py"] if plain else []
    return found


def names_of(module: Path) -> set[str]:
    """What the module defines, and what its classes define, as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_each_module_has_exactly_one_row_in_its_room_and_each_row_its_module() -> None:
    there = [str(path.relative_to(SERVER)) for path in SERVER.rglob("*.py") if path.name != "__init__.py"]
    there.remove("__main__.py")
    assert sorted(modules_on_the_page()) == sorted(there)


def test_each_module_of_the_client_has_exactly_one_row_and_each_row_its_module() -> None:
    table = PAGE.partition("## The Python client")[2].partition("## ")[0]
    named = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)]
    there = [path.stem for path in CLIENT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    there.remove("__init__")
    assert sorted(named) == sorted(there)


def test_each_path_that_the_map_names_exists_and_each_name_is_defined_there() -> None:
    named = re.findall(r"(?<![\w/.])((?:[\w-]+/)+[\w-]*(?:\.\w+)?|\w+\.py)(?::([\w.]+))?", PAGE)
    assert len(named) >= 100
    for path, name in named:
        found = [root / path for root in (SERVER, ROOT, SERVER / "mirror") if (root / path).exists()]
        assert found or path.startswith((".avocet/", "import/")), path
        assert not name or name in names_of(found[0]), f"{path}:{name}"


def test_the_map_has_each_path_of_the_data_directory() -> None:
    table = PAGE.partition("## The data directory")[2].partition("##")[0]
    directory = DataDirectory(Path())
    own = [getattr(directory, name) for name, kind in vars(DataDirectory).items() if isinstance(kind, property)]
    for path in (*own, *(directory.shared_file(file) for file in File)):
        assert f"`{path}`" in table or f"`{path}/`" in table, path


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_each_room_has_a_manual_of_8_to_30_lines_that_names_modules_which_exist(room: Path) -> None:
    manual = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert 8 <= len(manual.splitlines()) <= 30
    order = re.search(r"^Reading order\n((?: {4}.*\n)+)", manual, re.M)
    for names in re.findall(r"^ {4}((?:`[\w/.]+`,? ?)+)", order[1] if order else "", re.M):
        for name in re.findall(r"`([\w/.]+?)(?:\.py)?/?`", names):
            assert any((base / name).is_dir() or (base / f"{name}.py").exists() for base in (room, SERVER)), name


def imports_of(room: Path) -> set[str]:
    """What the modules of a room import of other rooms, with dots, below the server's package."""
    own, found = ".".join(room.relative_to(ROOT).parts), set[str]()
    for module in room.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module)
    outside = {name for name in found if not f"{name}.".startswith(f"{own}.")}
    return {name.removeprefix("avocet_grpc.") for name in outside if name.startswith("avocet_grpc.")}


@pytest.mark.parametrize("room", [room for room in ROOMS if SERVER in room.parents], ids=lambda room: room.name)
def test_a_room_imports_of_others_what_its_manual_says(room: Path) -> None:
    manual = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    said = manual.partition("\nMay import\n")[2].partition("\n\n")[0]
    assert said
    around = ".".join(room.parent.relative_to(SERVER).parts)
    named = {name.replace("/", ".").removesuffix(".py") for name in re.findall(r"`([\w./]+)`", said)}
    if "Every room but" in said:
        named = {path.stem for path in SERVER.iterdir()} - named
    elif "Every room" in said:
        return
    if around:
        # A manual calls what stands in the same room around it by its own name.
        named |= {f"{around}.{name}" for name in named} | ({around} if "the rest of the" in said else set())
    assert {name for name in imports_of(room) if not any(f"{name}.".startswith(f"{one}.") for one in named)} == set()


def test_no_test_forks_the_threads_of_grpc() -> None:
    """They end in an abort at times. `tests.limited` gives a command limits in another way."""
    using = [
        path for path in ROOT.glob("**/*.py") if ".venv" not in path.parts and "preexec_fn" + "=" in path.read_text()
    ]
    assert using == []


def test_no_source_file_is_longer_than_400_lines_and_half_of_them_stay_below_120() -> None:
    sizes = {
        path: len(path.read_text().splitlines())
        for root in ("avocet_grpc", "clients/python", "clients/typescript/src", "clients/web/src", "tests", "protos")
        for kind in ("*.py", "*.ts", "*.tsx")
        for path in (ROOT / root).rglob(kind)
        if not GENERATED.search(str(path)) and "node_modules" not in path.parts and "build" not in path.parts
    }
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > 400} == {}
    assert sorted(sizes.values())[len(sizes) // 2] < 120
