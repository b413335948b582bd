"""The service on a file that other programs hold at times, driven round by round in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision
from avocet_grpc.mirror.fs.lease import PATIENCE_S
from tests.faults.plain import read_plainly
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock
from tests.support import Json, record, write_records

COUNT = 60
LONG = "x" * 3_000
"""So that the file has several blocks."""


class Held:
    """The service on a file that others hold at times, driven round by round."""

    def __init__(self, data: Path, clock: SteppedClock, disk: CrashingDisk, events: list[Any]) -> None:
        self._events = events
        self.path = data / "sft_candidates.jsonl"
        self.records = {f"c{n}": record(f"c{n}", model_response=LONG) for n in range(COUNT)}
        write_records(self.path, list(self.records.values()))
        self._clock = clock
        self.service = InProcess(data, clock, disk)
        self.service.open()
        self.come_to_rest()

    def come_to_rest(self) -> None:
        while not self.service.round():
            self._clock.sleep(PATIENCE_S)

    def correct(self, id: str) -> None:
        self.service.do(lambda tx: review.submit(tx, Decision(id, Action.CORRECT, f"better {id}")))
        self.come_to_rest()

    def correct_while_held(self, id: str) -> None:
        with self.path.open("rb") as held:
            self.correct(id)
            assert os.fstat(held.fileno()).st_ino != self.path.stat().st_ino, "it was not replaced"

    def copies(self) -> list[bool]:
        """Of each swap, whether the whole file was copied for it."""
        return [one["copied"] for one in self._events if one["event"] == "file rewritten"]

    def append(self, id: str) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record(id)) + "\n")
        self.come_to_rest()

    def seen(self) -> dict[str, Json]:
        """What a plain reader sees, each id once."""
        view = read_plainly(self.path.read_bytes())
        assert not view.unreadable and not view.torn and not view.twice()
        return view.records

    def corrected(self) -> set[str]:
        return {id for id, one in self.seen().items() if one["corrected_response"] == f"better {id}"}

    def served(self, id: str) -> Json:
        """The record as the ledger has it."""
        found = self.service.served(id)
        assert found is not None
        return found
