"""What a decision costs the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision
from avocet_grpc.mirror.fs.lease import ignore_sigio
from tests.faults.in_process import Clock, CrashingDisk, InProcess
from tests.support import record, records, write_records


def test_an_approval_that_reaches_both_files_is_exactly_one_commit_and_no_command_of_the_mirror(tmp_path: Path) -> None:
    ignore_sigio()
    candidates, approved = tmp_path / "sft_candidates.jsonl", tmp_path / "sft_approved.jsonl"
    write_records(candidates, [record(f"c{n}") for n in range(20)])
    service = InProcess(tmp_path, Clock(), CrashingDisk())
    service.open()
    rest(service)
    commits, commands = service.commits, len(service.crashing.commands)
    for number in range(10):
        service.do(lambda tx: review.submit(tx, Decision(f"c{number}", Action.CORRECT, "better")))  # noqa: B023
        rest(service)
        assert json.dumps(records(approved)[number]) == json.dumps(decided(candidates)[number])
    made = service.crashing.commands[commands:]
    assert set(made) == {"set_report"}, "the mirror told the ledger of its own writes"
    assert service.commits - commits == 10 + len(made)
    assert service.stop()


def rest(service: InProcess) -> None:
    service.wait(2)
    while not service.round():
        service.wait(0.3)


def decided(path: Path) -> list[Any]:
    return sorted((one for one in records(path) if one["status"] == "approved"), key=lambda one: one["reviewed_at"])
