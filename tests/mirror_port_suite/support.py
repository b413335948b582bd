"""What the suite of the mirror's port shares: the mirror's side of a ledger whose works run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import (
    ABSENT,
    Edit,
    Expected,
    Found,
    How,
    Outcome,
)
from avocet_grpc.core.record import parse
from tests.ledger_suite import (
    run_each_work_twice,
)

C, A = File.CANDIDATES, File.APPROVED


def approved_line(id: str, text: str = "x", **more: Any) -> ParsedLine:
    return parse(json.dumps({"id": id, "status": "approved", "corrected_response": text} | more).encode())


class Port:
    """The mirror's side of one ledger, as short as a test wants it."""

    def __init__(self, ledger: Any) -> None:
        self.ledger = ledger
        self.mirror = ledger.mirror()
        self.epoch = self.mirror.take_over()

    def now(self, file: File, id: str) -> Any:
        with self.mirror.view() as view:
            return view.changed(file, [id]).get(id)

    def expected(self, file: File, id: str) -> Expected:
        now = self.now(file, id)
        return ABSENT if now is None or now.digest is None else Expected(now.digest, now.revision)

    def take_in(self, file: File, line: ParsedLine, how: How = How.APPENDED, **more: Any) -> Outcome:
        trusted = more.pop("trusted", False)
        outcome: Outcome
        [outcome] = self.mirror.take_in(self.epoch, file, [Found(line, **more)], how, trusted=trusted)
        return outcome

    def edit(self, file: File, line: ParsedLine, expected: Expected, **more: Any) -> Outcome:
        trusted = more.pop("trusted", False)
        id = line.columns.id
        outcome: Outcome
        [outcome] = self.mirror.accept_edits(self.epoch, file, [Edit(id, expected, line, **more)], trusted=trusted)
        return outcome

    def delete(self, file: File, id: str, expected: Expected) -> Outcome:
        outcome: Outcome
        [outcome] = self.mirror.accept_deletions(self.epoch, file, [(id, expected)])
        return outcome

    def actions(self, id: str) -> list[tuple[str, Source]]:
        return [(e.action, e.source) for e in self.ledger.read(lambda r: r.history(id))]


class Fresh:
    """A fresh ledger for each test."""

    @pytest.fixture
    def port(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
        run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path)
        yield Port(ledger)
        ledger.close()

    def open_ledger(self, tmp_path: Any) -> Any:
        raise NotImplementedError
