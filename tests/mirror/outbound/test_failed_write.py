"""A write that a full disk refuses is cut off again, and its effect on the file is not taken for a foreign change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from avocet_grpc.core import ingest, review
from avocet_grpc.core.model import Action, Correction, Decision
from avocet_grpc.core.ports.ledger import Transaction
from tests.mirror.in_process import CrashingDisk, opened
from tests.support import record, records, write_records

COUNT = 20
TRIES = 5
ROOM = 10


class FullDisk(CrashingDisk):
    """While it is full, it takes the beginning of what is written, and refuses the rest."""

    full = begun = False

    def append(self, descriptor: int, data: bytes) -> int:
        return super().append(descriptor, self._what_fits(data))

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        return super().write(descriptor, self._what_fits(data), offset)

    def _what_fits(self, data: bytes) -> bytes:
        if not self.full:
            return data
        self.begun = not self.begun
        if not self.begun:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return data[:ROOM]


def add(tx: Transaction) -> object:
    return ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2"))


def change(tx: Transaction) -> object:
    return review.submit(tx, Decision("c3", Action.DISCARD, ""))


@pytest.mark.parametrize("work", [add, change])
def test_a_full_disk_makes_no_round_compare_the_whole_file(tmp_path: Path, work: Callable[[Transaction], Any]) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}") for n in range(COUNT)])
    disk = FullDisk()
    with opened(tmp_path, disk=disk) as service, capture_logs() as events:
        before = path.read_bytes()
        service.do(work)
        events.clear()
        disk.full = True
        for _ in range(TRIES):
            with pytest.raises(OSError, match="No space left"):
                service.round()
            assert path.read_bytes() == before
        assert events == []
        path.write_bytes(before.replace(b'"c7"', b'"e7"'))
        with pytest.raises(OSError, match="No space left"):
            service.round()
        assert [one["event"] for one in events] == ["file compared"]
        disk.full = False
        while not service.round():
            service.wait(0.1)
        found = records(path)
        assert len(found) == COUNT + (work is add) and "e7" in {one["id"] for one in found}
        assert sum(one["status"] != "needs_review" for one in found) == 1
        assert service.stop()
