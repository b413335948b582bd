"""What others append at once is taken in a part at a time, and read no oftener the more there is of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from avocet_grpc.core.model import CandidateFilter
from avocet_grpc.mirror.fs import scan
from avocet_grpc.mirror.fs.signature import END_BYTES
from avocet_grpc.mirror.inbound import tail
from tests.mirror.in_process import CrashingDisk, opened
from tests.support import record, write_records

COUNT = 200
PART_BYTES = 10_000


class ReadingDisk(CrashingDisk):
    """Counts what is read."""

    count = 0

    def read(self, descriptor: int, length: int, offset: int) -> bytes:
        data = super().read(descriptor, length, offset)
        self.count += len(data)
        return data


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
def test_a_large_append_is_not_read_again_for_each_part_that_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    monkeypatch.setattr(tail, "BATCH_BYTES", PART_BYTES)
    monkeypatch.setattr(scan, "CHUNK_BYTES", 1_000)
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record("first")])
    disk = ReadingDisk()
    with opened(tmp_path, disk=disk) as service:
        lines = [json.dumps(record(f"c{n}", model_response="x" * 2_000)) + "\n" for n in range(COUNT)]
        appended = "".join(lines)[: -500 if torn else None]
        with path.open("a") as file:
            file.write(appended)
        disk.count = rounds = 0
        while service.ask(lambda reader: reader.stats(CandidateFilter())).total < COUNT + 1 - torn:
            service.round()
            rounds += 1
        assert rounds > len(appended) / PART_BYTES / 2, "it was not taken in in parts"
        # The end of what was read before is looked at before and after each part.
        assert disk.count < 5 * len(appended) + 2 * rounds * END_BYTES
        if torn:
            with path.open("a") as file:
                file.write(lines[-1][-500:])
            service.round()
        assert service.ask(lambda reader: reader.stats(CandidateFilter())).total == COUNT + 1
        assert service.stop()
