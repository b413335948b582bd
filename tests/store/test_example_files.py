"""Whatever becomes of the files of examples, exports are what the ledger's own tables give, and no call fails."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import ExportSelection
from avocet_grpc.store.examples.place import BODIES, IDS, NAMES, ROWS
from avocet_grpc.store.sql.examples import ExampleQueries
from tests.ledger_suite import newest
from tests.store.exporting import Store, everything

ROOT = Path(__file__).parents[2]


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The revisions after which the ledger was asked for examples; -1: for all of them."""
    asked: list[int] = []
    real = ExampleQueries.approved

    def approved(self: ExampleQueries, after: int) -> Any:
        asked.append(after)
        return real(self, after)

    monkeypatch.setattr(ExampleQueries, "approved", approved)
    return asked


def test_a_start_takes_what_the_files_have_and_asks_the_ledger_for_what_is_new(
    store: Store, followed: list[int]
) -> None:
    store.copy.bring_level()
    store.close_copy()
    before = newest(store.plain)
    followed.clear()
    store.open()
    store.check_some()
    assert followed == []
    store.close_copy()
    store.change()
    store.open()
    store.check_some()
    assert followed == [before]


def test_exports_read_the_files_and_not_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.copy.bring_level()
    asked: list[Any] = []
    real = ExampleQueries.bodies

    def bodies(self: ExampleQueries, numbers: Any) -> Any:
        asked.append(numbers)
        return real(self, numbers)

    monkeypatch.setattr(ExampleQueries, "bodies", bodies)
    store.check_some()
    store.again()
    store.check_some()
    assert asked == []


def test_a_batch_that_the_files_have_opens_no_view_of_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.is_level()
    store.keep_alone()
    asked = ExportSelection(newest(store.plain))
    before = everything(store.copy, asked, 0, 7, 1 << 30)
    monkeypatch.setattr(store.plain, "read", None)
    assert before
    assert everything(store.copy, asked, 0, 7, 1 << 30) == before


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def flipped(content: bytes) -> bytes:
    """Some bit of every hundredth byte or so is another one, but for the beginning."""
    return bytes(byte ^ (1 << at % 8 if at % 97 == 9 and at > 200 else 0) for at, byte in enumerate(content))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "deleted": Path.unlink,
    "cut off": cut,
    "emptied": lambda path: path.write_bytes(b""),
    "a bit flipped": flip,
    "many bits flipped": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "the last bit flipped": lambda path: flip(path, 1.0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "the end zeroed": lambda path: path.write_bytes(path.read_bytes()[:-150] + bytes(150)),
    "longer": lambda path: path.write_bytes(path.read_bytes() + path.read_bytes()[-256:]),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_made_again(store: Store, name: str, damage: str) -> None:
    store.copy.bring_level()
    store.close_copy()
    DAMAGES[damage](store.files / name)
    store.open()
    store.check_some()
    store.change()
    store.check_some()
    assert store.is_level()
    store.again()
    store.check_some()


@pytest.mark.parametrize("name", [BODIES, IDS])
@pytest.mark.parametrize("damage", ["deleted", "cut off", "emptied", "a bit flipped", "zeros"])
@pytest.mark.parametrize("before", ["opened", "written", "sent"])
@pytest.mark.parametrize("then", ["an export", "a change"])
def test_damage_while_exports_are_sent_is_no_error(
    store: Store, name: str, damage: str, before: str, then: str
) -> None:
    store.copy.bring_level()
    if before == "opened":
        store.again()
    elif before == "sent":
        store.check_some()
    store.copy.read(lambda reader: reader.export_total(ExportSelection(newest(store.plain)), 0))
    path = store.files / name
    if damage == "deleted":
        path.unlink()
    elif damage == "cut off":
        cut(path)
    elif damage == "emptied":
        os.truncate(path, 0)
    else:
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write(bytes(len(content)) if damage == "zeros" else bytes([content[0] ^ 1]) + content[1:])
    if then == "a change":
        store.change()
        store.copy.bring_level()
    store.check_some()
    store.change()
    store.check_some()
    store.again()
    store.check_some()
    assert store.is_level()


@pytest.mark.parametrize("names", [NAMES, (ROWS,), (BODIES, IDS)], ids=["all", "the rows", "the bytes"])
def test_files_of_another_directory_are_not_taken_for_the_own(
    store: Store, names: tuple[str, ...], tmp_path: Path
) -> None:
    # Its revisions are later, so that those in the files of before could be its own.
    other = Store(tmp_path / "other", random.Random(4))
    for _ in range(40):
        other.change()
    store.copy.bring_level()
    other.copy.bring_level()
    store.close_copy()
    other.close_copy()
    for name in names:
        (other.files / name).write_bytes((store.files / name).read_bytes())
    other.open()
    try:
        other.check_some()
        assert other.is_level()
        other.check_some()
    finally:
        other.copy.close()
    store.open()


def test_files_of_before_are_not_believed_once_the_ledger_has_forgotten_what_was_removed_since(store: Store) -> None:
    store.copy.bring_level()
    store.close_copy()
    for _ in range(30):
        store.change()
    store.prune()
    store.open()
    for _ in range(5):
        store.check_some()
