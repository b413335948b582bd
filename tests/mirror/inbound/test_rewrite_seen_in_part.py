"""A program that writes the whole file in place, seen after its first lines: the rest looks like an append."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess, Quicker, SteppedClock, opened
from tests.mirror.traces import append, correct, path_of, rest, service, undo
from tests.support import Json, record, records, write_records

__all__ = ["service"]


def lines_of(contents: list[Json]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in contents)


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


def test_an_undone_record_that_is_appended_edited_is_a_new_one(service: InProcess) -> None:
    path = path_of(service, File.APPROVED)
    for n in range(3):
        correct(service, f"c{n}")
    rest(service)
    service.wait(100)
    (edited,) = [one | {"task_name": "edited"} for one in records(path) if one["id"] == "c1"]
    undo(service, "c1")
    service.come_to_rest()
    append(path, edited)
    rest(service)
    assert service.served("c1", File.APPROVED) == edited
