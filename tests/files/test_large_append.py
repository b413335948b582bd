"""What others append at once is taken in a part at a time, and read no oftener the more there is of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.shared_files import intake, scan
from avocet_grpc.shared_files.watch import read_range
from tests.faults.in_process import Clock, CrashingOs, InProcess, replaced
from tests.support import record, write_records

COUNT = 200
PART_BYTES = 10_000


class ReadingOs(CrashingOs):
    """Counts what is read."""

    read = 0

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        data = os.pread(descriptor, length, offset)
        self.read += len(data)
        return data


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_large_append_is_not_read_again_for_each_part_that_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    monkeypatch.setattr(intake, "TAIL_BYTES", PART_BYTES)
    monkeypatch.setattr(scan, "CHUNK_BYTES", 1_000)
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record("first")])
    with replaced(clock := Clock(), disk := ReadingOs()):
        service = InProcess(tmp_path, clock, disk)
        service.open()
        assert service.round()

        def counted(path: Path, start: int, end: int) -> bytes:
            data = read_range(path, start, end)
            disk.read += len(data)
            return data

        monkeypatch.setattr(intake, "read_range", counted)
        lines = [json.dumps(record(f"c{n}", model_response="x" * 2_000)) + "\n" for n in range(COUNT)]
        appended = "".join(lines)[: -500 if torn else None]
        with path.open("a") as file:
            file.write(appended)
        disk.read = rounds = 0
        while service.ask(lambda reader: reader.stats(CandidateFilter())).total < COUNT + 1 - torn:
            service.round()
            rounds += 1
        assert rounds > len(appended) / PART_BYTES / 2, "it was not taken in in parts"
        assert disk.read < 5 * len(appended)
        if torn:
            with path.open("a") as file:
                file.write(lines[-1][-500:])
            service.round()
        assert service.ask(lambda reader: reader.stats(CandidateFilter())).total == COUNT + 1
        assert service.stop()
