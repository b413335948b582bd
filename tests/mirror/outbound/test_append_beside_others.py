"""Our lines never go into the middle of a line that somebody is writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction
from avocet_grpc.core.ports.ledger import Transaction
from tests.mirror.in_process import CrashingDisk, opened
from tests.support import record, records, write_records

LINE = json.dumps(record("theirs")).encode() + b"\n"
HALF = len(LINE) // 2


class Interrupted(CrashingDisk):
    """Others do something between our look at the file and our writing to it."""

    def __init__(self) -> None:
        super().__init__()
        self.between: Callable[[], object] | None = None

    def open_to_append(self, path: Path) -> int:
        descriptor = super().open_to_append(path)
        if self.between is not None:
            (between, self.between) = (self.between, None)
            between()
        return descriptor


def add(tx: Transaction) -> str:
    return ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")).id


@pytest.mark.parametrize("is_held", [True, False], ids=["held open", "opened twice"])
@pytest.mark.parametrize("before", [b"", LINE.replace(b"theirs", b"whole")], ids=["half", "one and a half"])
def test_a_line_that_others_begin_between_our_look_and_our_write_stays_whole(
    tmp_path: Path, before: bytes, is_held: bool
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record("c1")])
    disk = Interrupted()
    with opened(tmp_path, disk=disk) as service:
        ours = service.do(add)
        with path.open("ab", buffering=0) as other:
            disk.between = lambda: other.write(before + LINE[:HALF])
            assert not service.round()
            assert disk.between is None
            if not is_held:
                other.close()
            for _ in range(3):
                service.round()
                service.wait(0.25)
            assert path.read_bytes().endswith(LINE[:HALF]), "ours waits for the end of that line"
            with path.open("ab", buffering=0) as again:
                again.write(LINE[HALF:])
        service.come_to_rest()
        wanted = {"c1", "theirs", ours} | ({"whole"} if before else set())
        assert {one["id"] for one in records(path)} == wanted
        assert all(service.served(id) is not None for id in wanted)
        assert service.stop()
