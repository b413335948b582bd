"""What the two files and the ledger must say: plain dicts, changed by the promised rules and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from avocet_grpc.core.model import Action

Record = dict[str, Any]
TIMES = ("reviewed_at", "timestamp")
"""Keys that a change of ours sets to the time; the model takes them from the answer."""


@dataclass
class FileModel:
    """One file: its records by id, and all its other lines, which keep their bytes (malformed, or of an id again)."""

    records: dict[str, Record] = field(default_factory=dict)
    kept: Counter[bytes] = field(default_factory=Counter)
    ours: set[str] = field(default_factory=set)
    """Ids whose line a write of ours brought to the file in the last minute, or may still bring."""


@dataclass
class Decided:
    """What an undo goes back to: the status after the decision, and what each key was that it set."""

    status: str
    was: Record
    set: list[str]


class Model:
    def __init__(self) -> None:
        self.candidates = FileModel()
        self.approved = FileModel()
        self.decided: dict[str, Decided] = {}

    def in_review(self, id: str) -> bool:
        return bool(self.candidates.records[id].get("status") == "needs_review")

    def submit(self, id: str, action: Action, text: str, reviewer: str, answer: bytes) -> None:
        """The decision was acknowledged with this record."""
        before = self.candidates.records[id]
        status = {Action.CORRECT: "approved", Action.DISCARD: "discarded", Action.FLAG: "model_rejected"}[action]
        changes: Record = {"status": status}
        if action is Action.CORRECT:
            changes |= {"corrected_response": text, "failure_category": None}
        changes["reviewed_at"] = None
        if reviewer:
            changes["reviewed_by"] = reviewer
        after = self._answered(id, before | changes, answer)
        changed = [key for key in after if key not in before or before[key] != after[key]]
        self.decided[id] = Decided(status, {key: before[key] for key in changed if key in before}, changed)
        if action is Action.CORRECT:
            self.approved.records[id] = dict(after)
            self.approved.ours.add(id)

    def undo(self, id: str, answer: bytes) -> None:
        """The undo was acknowledged with this record."""
        before = dict(self.candidates.records[id])
        decided = self.decided.pop(id, None)
        if decided and decided.status == before.get("status"):
            for key in decided.set:
                before.pop(key, None)
            after = {key: value for key, value in self.candidates.records[id].items() if key in before}
            after |= decided.was
        else:
            after = before | {"status": "needs_review", "corrected_response": None}
            if "failure_category" in after:
                after["failure_category"] = None
        self._answered(id, after, answer)
        self.approved.records.pop(id, None)
        self.approved.ours.add(id)
        self.approved.kept -= Counter({raw: n for raw, n in self.approved.kept.items() if id_of(raw) == id})

    def born(self, record: Record, approved: bool) -> None:
        """An Ingest or Import made this record."""
        for file in (self.candidates, self.approved) if approved else (self.candidates,):
            file.records[record["id"]] = dict(record)
            file.ours.add(record["id"])

    def _answered(self, id: str, wanted: Record, answer: bytes) -> Record:
        found: Record = json.loads(answer)
        assert without_times(found) == without_times(wanted), f"answered {found}, wanted {wanted}"
        self.candidates.records[id] = found
        self.candidates.ours.add(id)
        return found


def without_times(record: Record) -> Record:
    return {key: value for key, value in record.items() if key not in TIMES}


def id_of(raw: bytes) -> str | None:
    """The id of a line; None if it is not a record."""
    try:
        record = json.loads(raw)
    except ValueError:
        return None
    return record.get("id") if isinstance(record, dict) else None


def lines_of(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip()]
