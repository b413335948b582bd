"""A program pauses while it writes a whole file in place: what it has not written yet is not deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess, SteppedClock, opened
from tests.mirror.traces import correct, ids, path_of, rest, service, undo, wait
from tests.support import record, records, write_records

__all__ = ["service"]


@pytest.mark.parametrize("pause", [7, 12, 40])
@pytest.mark.parametrize("when", ["before", "in the pause"])
def test_a_pause_with_the_file_open_deletes_nothing(service: InProcess, pause: int, when: str) -> None:
    path = path_of(service, File.CANDIDATES)
    read = path.read_bytes().splitlines(keepends=True)
    if when == "before":
        correct(service, "c2")
        service.come_to_rest()
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, pause // 2)
        if when == "in the pause":
            correct(service, "c1")
        wait(service, pause - pause // 2)
        file.writelines(read[4:])
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8)]
    assert all(service.served(f"c{n}") is not None for n in range(8))
    changed = service.served("c2" if when == "before" else "c1")
    assert changed is not None and changed["corrected_response"] == "better"


@pytest.mark.parametrize("decides", [False, True])
def test_a_start_beside_a_program_that_is_half_way_deletes_nothing(service: InProcess, decides: bool) -> None:
    path = path_of(service, File.CANDIDATES)
    odd = [b'{"broken\n', _line(record("c3", note="further")) + b"\n"]
    with path.open("ab") as file:
        file.writelines(odd)
    rest(service)
    assert service.stop()
    read = path.read_bytes().splitlines(keepends=True)
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        service.open()
        assert service.served("c7") is not None
        if decides:
            correct(service, "c1")
        wait(service, 3)
        file.writelines(read[4:])
    rest(service, 30)
    lines = path.read_bytes().splitlines(keepends=True)
    assert [lines.count(line) for line in odd] == [1, 1]
    assert {json.loads(line)["id"] for line in lines if line.strip() and line != odd[0]} == {f"c{n}" for n in range(8)}


def test_what_was_written_to_a_displaced_file_is_read_before_anything_counts_as_deleted(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    read = path.read_bytes().splitlines(keepends=True)
    correct(service, "c2")
    service.come_to_rest()
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, 7)
        file.writelines(read[4:])
    service.wait(70)
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8)]


def test_a_stop_beside_a_program_that_is_half_way_deletes_nothing(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    correct(service, "c2")
    service.come_to_rest()
    read = path.read_bytes().splitlines(keepends=True)
    # Not the last lines alone, which would count as damage.
    read.insert(0, read.pop())
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, 1)
        assert service.stop()
        service.open()
        wait(service, 1)
        file.writelines(read[4:])
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8)]


def test_lines_that_others_left_out_are_deleted_if_the_writer_goes_or_stays_for_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}") for n in range(8)])
    with opened(tmp_path, SteppedClock()) as made:
        made.wait(3_600)
        for stays in (False, True):
            left = records(path)
            del left[1]
            with path.open("wb") as file:
                file.write(b"".join(line + b"\n" for line in map(_line, left)))
                file.flush()
                wait(made, 80 if stays else 1)
                assert len(ids(path)) == len(left)
                assert (made.served(f"c{2 if stays else 1}") is None) == stays
            rest(made, 25)
            assert made.served(f"c{2 if stays else 1}") is None


def _line(one: dict[str, object]) -> bytes:
    return json.dumps(one).encode()


@pytest.mark.parametrize("gap", [1, 3])
def test_a_later_decision_is_not_lost_to_an_edit_of_an_undone_one(service: InProcess, gap: int) -> None:
    """The program closes the file between two pieces, so that the second one looks like an append."""
    path = path_of(service, File.APPROVED)
    for n in range(4):
        correct(service, f"c{n}", f"first {n}")
    rest(service)
    edited = [_line(one | {"note": "x"}) + b"\n" for one in records(path)]
    undo(service, "c3")
    correct(service, "c3", "second")
    service.come_to_rest()
    path.write_bytes(b"".join(edited[:2]))
    wait(service, gap)
    with path.open("ab") as file:
        file.writelines(edited[2:])
    rest(service, 30)
    served = service.served("c3", File.APPROVED)
    assert served is not None and served["corrected_response"] == "second"
    assert [one["corrected_response"] for one in records(path) if one["id"] == "c3"] == ["second"]


def test_lines_of_ours_that_the_rest_of_a_rewrite_brings_do_not_stand_twice(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    for n in (6, 7):
        correct(service, f"c{n}")
    service.come_to_rest()
    read = path.read_bytes().splitlines(keepends=True)
    read = [line for line in read if line.strip()]
    correct(service, "c1")
    service.come_to_rest()
    path.write_bytes(b"".join(read[:4]))
    wait(service, 2)
    with path.open("ab") as file:
        file.writelines(read[4:])
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8)]


def test_who_begins_anew_in_a_displaced_file_deletes_nothing(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    read = path.read_bytes().splitlines(keepends=True)
    # Not the first lines as they were, which would count as damage.
    read.insert(0, read.pop())
    inode = path.stat().st_ino
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, 7)
        correct(service, "c1")
        wait(service, 2)
        assert path.stat().st_ino != inode
        file.seek(0)
        file.truncate()
        respelled = [line.replace(b"{", b"{  ", 1) if b'"c5"' in line else line for line in read[4:]]
        file.writelines([*read[:3], read[3].replace(b"Blue sky", b"Blue sea"), *respelled])
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8)]
    assert [service.actions(f"c{n}") for n in range(8)] == [[], ["correct"], ["edit"], *[[]] * 5]
