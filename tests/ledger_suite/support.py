"""What the suites of the ledger share: records, short commands, and a ledger whose works run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from avocet_grpc.core import export, imports, review
from avocet_grpc.core.model import (
    Action,
    CandidateFilter,
    Decision,
    UndoRequest,
)
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.core.record import parse
from avocet_grpc.store.sql.group import Run
from avocet_grpc.store.sql.transaction import SqlTransaction
from tests.exports import exports

ALL = CandidateFilter()


def encode(record: dict[str, Any], revision: int) -> bytes:
    """A stand-in for the wire's encoding: the id and the revision are enough to check the ledger."""
    return f"{record['id']}@{revision}".encode() + b"\0\xff"


def candidate_line(number: int, **more: Any) -> Any:
    record = {"id": f"c{number}", "status": "needs_review", "model_name": f"m{number % 3}", "task_type": "qa"}
    return parse(json.dumps(record | more).encode())


def import_candidates(ledger: Ledger, count: int, **more: Any) -> None:
    lines = [
        candidate_line(n, timestamp=f"2026-01-{n % 28 + 1:02}", quality_score=n % 5 / 4 if n % 3 else None, **more)
        for n in range(count)
    ]
    ledger.write(lambda tx: imports.import_run(tx, "run", lines)).result()


def correct(ledger: Ledger, id: str, text: str = "better", **more: Any) -> Any:
    decision = Decision(id, Action.CORRECT, text, **more)
    return ledger.write(lambda tx: review.submit(tx, decision)).result()


def undo(ledger: Ledger, id: str) -> Any:
    return ledger.write(lambda tx: review.undo(tx, UndoRequest(id))).result()


def newest(ledger: Ledger) -> int:
    return ledger.read(lambda r: r.revision())


def exported(ledger: Ledger, **asked: Any) -> list[str]:
    defaults: dict[str, Any] = {
        "filter": ALL, "shard_index": 0, "shard_count": 1, "split": None,
        "at_revision": 0, "since_revision": 0, "resume_token": "",
    }  # fmt: skip

    def read(reader: Any) -> list[str]:
        reader = exports(reader)
        cursor = export.open_export(reader, **(defaults | asked))
        batch = reader.export_batch(cursor.selection, cursor.after_key, 1000, 1 << 30)
        ids = batch.ids.decode().split("\n")[:-1] if batch else []
        assert len(ids) == cursor.total
        return ids

    return ledger.read(read)


def run_each_work_twice(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let each work run, be undone, and run again. Returns a list that grows with each first run."""
    runs: list[int] = []
    outcome = Run.outcome

    def twice(self: Run, work: Any) -> Any:
        tx = SqlTransaction(self._session, self.head, self._encode, self._pending)
        try:
            work(tx)
        except Exception:
            runs.append(0)
        else:
            runs.append(1)
        tx.undo()
        return outcome(self, work)

    monkeypatch.setattr(Run, "outcome", twice)
    return runs


class Fresh:
    """A fresh ledger for each test."""

    @pytest.fixture
    def ledger(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
        runs = run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path)
        yield ledger
        ledger.close()
        assert runs

    def open_ledger(self, tmp_path: Any) -> Ledger:
        raise NotImplementedError
