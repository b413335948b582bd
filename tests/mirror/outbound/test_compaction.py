"""A file is compacted once much of it is blank: in a quiet moment, and without one when readers read mostly blanks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision, UndoRequest
from avocet_grpc.mirror import shared_file
from tests.mirror.in_process import InProcess, SteppedClock, opened
from tests.support import record, records, write_records

COUNT = 100


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def service(tmp_path: Path, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    """On candidates without anything blank, in the file `sft_candidates.jsonl`."""
    monkeypatch.setattr(shared_file, "BLANK_BYTES", 1_000)
    write_records(tmp_path / "sft_candidates.jsonl", [record(f"c{n:03d}") for n in range(COUNT)])
    with opened(tmp_path, clock) as made:
        yield made


def discard(service: InProcess, number: int) -> None:
    """One decision, brought into the file."""
    decision = Decision(f"c{number:03d}", Action.DISCARD, "")
    service.do(lambda tx: review.submit(tx, decision))
    while not service.round():
        service.wait(0.1)


def blank_share(path: Path) -> float:
    data = path.read_bytes()
    return 1 - sum(len(line) + 1 for line in data.split(b"\n") if line.strip()) / len(data)


def test_a_file_of_which_a_quarter_is_blank_is_compacted_once_it_is_quiet(service: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    inode = path.stat().st_ino
    for number in range(60):
        discard(service, number)
    assert path.stat().st_ino == inode and 0.25 < blank_share(path) < 0.5
    service.wait(shared_file.QUIET_S)
    service.round()
    assert path.stat().st_ino != inode and blank_share(path) == 0
    assert [one["id"] for one in records(path)] == [f"c{n:03d}" for n in range(COUNT)]
    assert sum(one["status"] == "discarded" for one in records(path)) == 60
    assert service.stop()


def test_a_file_of_which_half_is_blank_does_not_wait_for_a_quiet_moment(service: InProcess, tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    inode, number, highest = path.stat().st_ino, 0, 0.0
    while path.stat().st_ino == inode:
        assert number < 3 * COUNT, "it was never compacted"
        if number >= COUNT:
            id = f"c{number % COUNT:03d}"
            service.do(lambda tx, id=id: review.undo(tx, UndoRequest(id)))
        discard(service, number % COUNT)
        highest, number = max(highest, blank_share(path)), number + 1
    assert 0.45 < highest < 0.55
    assert [one["id"] for one in records(path)] == [f"c{n:03d}" for n in range(COUNT)]
    assert service.stop()
