"""Our lines behind lines of another program that we had not read when we wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import CandidateFilter, Correction, File
from tests.mirror.in_process import InProcess, Quicker, SteppedClock, opened
from tests.mirror.traces import correct, expire_feed, path_of, rest, rewrite, service
from tests.support import record, records, write_records

__all__ = ["service"]


def test_a_line_of_ours_that_another_program_writes_back_just_before_us_does_not_stand_twice(tmp_path: Path) -> None:
    disk = Quicker()
    write_records(tmp_path / "sft_candidates.jsonl", [record("c0")])
    with opened(tmp_path, SteppedClock(), disk) as made:
        path = path_of(made, File.CANDIDATES)
        made.wait(100)
        stored = made.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
        served: Any = made.served(stored.id)
        disk.line = json.dumps(served).encode() + b"\n"
        rest(made)
        assert disk.line == b"" and [one["id"] for one in records(path)] == ["c0", stored.id]
        assert made.served(stored.id) == served


@pytest.mark.parametrize("killed", [False, True])
def test_malformed_lines_and_duplicates_that_are_put_back_behind_lines_of_others_stand_as_often_as_before(
    tmp_path: Path, killed: bool
) -> None:
    disk = Quicker()
    path = tmp_path / "sft_candidates.jsonl"
    kept = [record(f"c{n}") for n in range(150)]
    odd = ['{"broken', '{"broken', "[1]"]
    further = [json.dumps(record("c7", note="further")), json.dumps(kept[9])]
    path.write_text("".join(f"{line}\n" for line in [*map(json.dumps, kept), *odd, *further]))
    with opened(tmp_path, SteppedClock(), disk) as made:
        made.wait(100)
        path.unlink()
        write_records(path, [record("new")])
        disk.line = json.dumps(record("quick")).encode() + b"\n"
        if killed:
            while disk.line:
                made.round()
                made.wait(0.1)
            made.crash()
            with path.open("a") as file:
                file.write(json.dumps(record("meanwhile")) + "\n")
            made.open()
        for seconds in (0, 20, 100):
            made.wait(seconds)
            made.come_to_rest()
        others = ["new", "quick", "meanwhile"] if killed else ["new", "quick"]
        found = [line for line in path.read_text().splitlines() if line.strip()]
        assert sorted(line for line in found if line in odd) == sorted(odd)
        ids = Counter(json.loads(line)["id"] for line in found if line not in odd)
        assert ids == Counter([f"c{n}" for n in range(150)] + ["c7", "c9"] + others)
        stats = made.ask(lambda reader: reader.stats(CandidateFilter()))
        assert (stats.malformed, stats.duplicate_ids) == (3, 2)


def test_a_record_that_disappeared_and_comes_back_edited_is_an_edit_and_no_new_record(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    contents = records(path)
    write_records(path, [one for one in contents if one["id"] != "c3"])
    for _ in range(3):
        service.round()
        service.wait(1)
    contents[3] |= {"task_name": "edited"}
    write_records(path, contents)
    rest(service)
    served = service.served("c3")
    assert served is not None and served["task_name"] == "edited"
    assert list(service.actions("c3"))[:1] == ["edit"]


def test_a_record_that_a_new_index_puts_back_behind_a_line_of_others_counts_before_that_line(tmp_path: Path) -> None:
    """What is noted of a record while the file lacks it says whether it can be exported."""
    disk = Quicker()
    write_records(tmp_path / "sft_candidates.jsonl", [record("c0")])
    with opened(tmp_path, SteppedClock(), disk) as made:
        path = path_of(made, File.APPROVED)
        correct(made, "c0")
        made.come_to_rest()
        (ours,) = records(path)
        made.crash()
        (tmp_path / ".avocet" / "mirror.db").unlink()
        write_records(path, [record("c9", status="approved", corrected_response="of another program")])
        disk.line = json.dumps(ours | {"corrected_response": "just before ours"}).encode() + b"\n"
        made.open()
        rewrite(path, records(path))
        rest(made)
        assert disk.line == b"" and made.served("c0", File.APPROVED) == ours
        assert [one["id"] for one in records(path)] == ["c9", "c0", "c0"] and records(path)[-1] == ours


def test_a_record_that_a_look_at_everything_puts_back_behind_a_line_of_others_counts_before_that_line(
    tmp_path: Path,
) -> None:
    disk = Quicker()
    write_records(tmp_path / "sft_candidates.jsonl", [record("c0"), record("c1")])
    with opened(tmp_path, SteppedClock(), disk) as made:
        path = path_of(made, File.APPROVED)
        correct(made, "c1")
        made.come_to_rest()
        correct(made, "c0")
        ours = made.served("c0", File.APPROVED)
        assert ours is not None
        expired = expire_feed(made, File.APPROVED, times=1)
        disk.line = json.dumps(ours | {"corrected_response": "just before ours"}).encode() + b"\n"
        while disk.line:
            made.round()
        rewrite(path, records(path))
        rest(made)
        assert expired == [] and disk.line == b"" and made.served("c0", File.APPROVED) == ours
        assert [one["id"] for one in records(path)] == ["c1", "c0", "c0"] and records(path)[-1] == ours
