"""Our lines behind lines of another program that we had not read when we wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction, File
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock, opened
from tests.mirror.traces import path_of, rest, service
from tests.support import record, records, write_records

__all__ = ["service"]


class Quicker(CrashingDisk):
    """Another program appends `line` just before our next append to the file."""

    line = b""

    def append(self, descriptor: int, data: bytes) -> int:
        line, self.line = self.line, b""
        if line:
            super().append(descriptor, line)
        return super().append(descriptor, data)


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
