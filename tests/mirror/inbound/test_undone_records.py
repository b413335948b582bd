"""What the service took out of the approved file does not come back by a program that had read it before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess, Quicker, SteppedClock, opened
from tests.mirror.traces import append, correct, path_of, rest, rewrite, service, undo, wait
from tests.support import Json, record, records, write_records

__all__ = ["service"]


def lines_of(contents: list[Json]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in contents)


def approved_and_read(service: InProcess) -> tuple[Path, list[Json]]:
    """Three approved records, and what another program reads of them."""
    for n in range(3):
        correct(service, f"c{n}")
    rest(service)
    path = path_of(service, File.APPROVED)
    return path, records(path)


@pytest.mark.parametrize("index", ["kept", "lost"])
def test_an_undone_record_does_not_come_back_edited_by_a_rewrite_that_is_seen_in_part(
    tmp_path: Path, index: str
) -> None:
    disk = Quicker()
    write_records(tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(3)])
    with opened(tmp_path, SteppedClock(), disk) as made:
        path = path_of(made, File.APPROVED)
        write_records(path, [record("x", status="approved", corrected_response="of another program")])
        rest(made)
        for n in range(3):
            correct(made, f"c{n}")
        rest(made)
        made.wait(100)
        read = records(path)
        undo(made, "c1")
        made.come_to_rest()
        written = lines_of([one | {"task_name": "edited"} if one["id"] == "c1" else one for one in read])
        first = written.index(b"\n") + 1
        if index == "lost":
            made.crash()
            (tmp_path / ".avocet" / "mirror.db").unlink()
        path.write_bytes(written[:first])
        disk.line = written[first:]
        if index == "lost":
            made.open()
        rest(made)
        assert disk.line == b"" and made.served("c1", File.APPROVED) is None
        assert [one["id"] for one in records(path)] == ["x", "c0", "c2"]
        assert list(made.actions("c1"))[:1] == ["overrule"]


@pytest.mark.parametrize("seconds", [0, 100])
def test_an_undone_record_that_is_appended_edited_is_a_new_one_after_a_minute(service: InProcess, seconds: int) -> None:
    path = path_of(service, File.APPROVED)
    for n in range(3):
        correct(service, f"c{n}")
    rest(service)
    (edited,) = [one | {"corrected_response": "edited"} for one in records(path) if one["id"] == "c1"]
    undo(service, "c1")
    service.come_to_rest()
    service.wait(seconds)
    append(path, edited)
    rest(service)
    assert service.served("c1", File.APPROVED) == (edited if seconds else None)
    assert [one["id"] for one in records(path)] == ["c0", "c2", *(["c1"] if seconds else [])]
    assert next(iter(service.actions("c1"))) == ("add" if seconds else "overrule")


def test_an_edit_of_the_last_line_after_the_service_took_it_out_by_a_replacement_does_not_come_back(
    service: InProcess,
) -> None:
    """The blanks are gone with the replacement, so that the rewrite in place looks like an append."""
    path, read = approved_and_read(service)
    undo(service, "c2")
    service.come_to_rest()
    write_records(path, records(path))
    rest(service)
    path.write_bytes(lines_of([*read[:2], read[2] | {"corrected_response": "edited"}]))
    rest(service)
    assert service.served("c2", File.APPROVED) is None
    assert [one["id"] for one in records(path)] == ["c0", "c1"]


def test_a_rewrite_after_a_crash_does_not_bring_it_back_however_late_others_append(service: InProcess) -> None:
    path, read = approved_and_read(service)
    undo(service, "c1")
    service.come_to_rest()
    service.crash()
    rewrite(path, [one | {"corrected_response": "edited"} if one["id"] == "c1" else one for one in read])
    service.wait(100)
    append(path, record("x", status="approved", corrected_response="of another program"))
    service.open()
    rest(service)
    assert service.served("c1", File.APPROVED) is None
    assert [one["id"] for one in records(path)] == ["c0", "c2", "x"]


def test_a_line_that_a_power_cut_brings_back_may_be_read_again_before_it_is_blanked(service: InProcess) -> None:
    path, read = approved_and_read(service)
    undo(service, "c1")
    service.come_to_rest()
    service.crash()
    write_records(path, read)
    service.wait(100)
    service.open()
    rewrite(path, [one | {"corrected_response": "edited"} if one["id"] == "c1" else one for one in read])
    rest(service)
    assert service.served("c1", File.APPROVED) is None
    assert [one["id"] for one in records(path)] == ["c0", "c2"]


@pytest.mark.parametrize("knows_it", [True, False])
def test_an_undone_record_that_is_appended_to_the_file_in_which_it_still_stands_does_not_come_back(
    service: InProcess, knows_it: bool
) -> None:
    """That file was displaced before the undo, so its authors cannot have seen that. What tells nothing of the undone
    decision is a new record."""
    path, read = approved_and_read(service)
    inode = path.stat().st_ino
    new = record("c2", status="approved", corrected_response="of another program")
    with path.open("ab") as file:
        undo(service, "c2")
        service.come_to_rest()
        assert path.stat().st_ino != inode
        service.wait(100)
        file.write(lines_of([read[2] | {"task_name": "edited"} if knows_it else new]))
        file.flush()
        rest(service)
    assert service.served("c2", File.APPROVED) == (None if knows_it else new)
    assert [one["id"] for one in records(path)] == ["c0", "c1", *([] if knows_it else ["c2"])]


@pytest.mark.parametrize("lets_go", [False, True])
@pytest.mark.parametrize("seconds", [7, 80])
def test_the_rest_of_a_rewrite_brings_no_undone_record_back_whatever_it_says_of_it(
    service: InProcess, lets_go: bool, seconds: int
) -> None:
    """It has nothing of the undone decision. A program that has let go of the file, or is a minute late, appends."""
    path, read = approved_and_read(service)
    undo(service, "c2")
    service.come_to_rest()
    edited = {"id": "c2", "status": "approved", "corrected_response": "edited"}
    written = lines_of([read[0] | {"note": "x"}, read[1], edited])
    end = len(lines_of([read[0] | {"note": "x"}, read[1]]))
    with path.open("wb") as file:
        file.write(written[:end])
        file.flush()
        wait(service, seconds)
        if seconds > 60:
            undo(service, "c1")
            edited["id"] = "c1"
            written = written[:end] + lines_of([edited])
            service.wait(0.1)
        if not lets_go:
            file.write(written[end:])
    if lets_go:
        service.round()
        with path.open("ab") as file:
            file.write(written[end:])
    rest(service)
    is_rest = seconds < 60 and not lets_go
    assert service.served(edited["id"], File.APPROVED) == (None if is_rest else edited)


def test_the_rest_of_a_rewrite_that_a_start_found_half_written_brings_no_undone_record_back(
    service: InProcess,
) -> None:
    path, read = approved_and_read(service)
    service.wait(100)
    service.round()
    undo(service, "c2")
    assert service.stop()
    with path.open("wb") as file:
        file.write(lines_of([read[0] | {"note": "x"}]))
        file.flush()
        inode = path.stat().st_ino
        service.open()
        service.round()
        assert path.stat().st_ino == inode
        file.write(lines_of([{"id": "c2", "status": "approved", "corrected_response": "edited"}]))
    rest(service)
    assert service.served("c2", File.APPROVED) is None
