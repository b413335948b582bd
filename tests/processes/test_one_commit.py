"""What a decision costs the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision
from tests.mirror import in_process
from tests.mirror.in_process import opened
from tests.support import record, records, write_records

COMMANDS = ("take_over", "take_in", "accept_edits", "accept_deletions", "respell", "set_report")


def test_an_approval_that_reaches_both_files_is_exactly_one_commit_and_no_command_of_the_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Told(in_process.CrashingLedger):
        """Notes each command of the mirror."""

        def __getattribute__(self, name: str) -> Any:
            if name in COMMANDS:
                told.append(name)
            return super().__getattribute__(name)

    monkeypatch.setattr(in_process, "CrashingLedger", Told)
    candidates, approved = tmp_path / "sft_candidates.jsonl", tmp_path / "sft_approved.jsonl"
    write_records(candidates, [record(f"c{n}") for n in range(20)])
    commits: list[int] = []
    with opened(tmp_path) as service:
        service.wait(2)
        service.come_to_rest()
        assert "take_over" in told and "set_report" in told
        told.clear()
        service.ledger.on_commit(lambda: commits.append(1))
        for number in range(10):
            service.do(lambda tx: review.submit(tx, Decision(f"c{number}", Action.CORRECT, "better")))  # noqa: B023
            service.wait(2)
            service.come_to_rest()
            assert json.dumps(records(approved)[number]) == json.dumps(decided(candidates)[number])
        assert set(told) == {"set_report"}, "the mirror told the ledger of its own writes"
        assert len(commits) == 10 + len(told)


def decided(path: Path) -> list[Any]:
    return sorted((one for one in records(path) if one["status"] == "approved"), key=lambda one: one["reviewed_at"])
