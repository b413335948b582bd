"""What the suites of a team share: short commands, a clock, and a ledger whose works run twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_grpc.core import claims, imports, review
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.history import HistoryQuery, scan
from avocet_grpc.core.model import (
    Action,
    CandidateFilter,
    Decision,
    ExportSelection,
    File,
    ParsedLine,
)
from avocet_grpc.core.ports.mirror import Cursor, Edit, Expected, FileReport, Verdict
from avocet_grpc.core.ports.pruning import Uptime
from avocet_grpc.core.record import content_digest, load, parse
from avocet_grpc.core.retention import Keep, prune, raise_floors
from tests.exports import exports
from tests.ledger_suite import newest, run_each_work_twice

ALL = CandidateFilter()


def widest(name: str, characters: int = 1_000) -> str:
    """A text of characters of four bytes each that cannot be compressed; another one for each name."""
    chosen = random.Random(name)
    return "".join(chr(chosen.randrange(0x20000, 0x2A000)) for _ in range(characters))


class Clock:
    """Unix time in seconds, as the test sets it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def claim(ledger: Any, reviewer: str = "ann", limit: int = 1, **more: Any) -> list[claims.Held]:
    held: list[claims.Held] = ledger.write(lambda tx: claims.claim(tx, ClaimRequest(reviewer, limit, **more))).result()
    return held


def ids(held: list[claims.Held]) -> list[str]:
    return [load(one.candidate.raw)["id"] for one in held]


def holders(ledger: Any, *names: str) -> list[str | None]:
    """The reviewers who hold these candidates."""

    def read(reader: Any) -> list[str | None]:
        keys = [reader.candidate(id).key for id in names]
        found = reader.claims.holders(keys)
        return [found[key].reviewer if key in found else None for key in keys]

    asked: list[str | None] = ledger.read(read)
    return asked


def decide(ledger: Any, id: str, **more: Any) -> Any:
    return ledger.write(lambda tx: review.submit(tx, Decision(id, Action.DISCARD, **more))).result()


def edit(ledger: Any, id: str, **changes: Any) -> None:
    """Another program changes a record of the candidates file."""
    mirror, candidate = ledger.mirror(), ledger.read(lambda r: r.candidate(id))
    record = load(candidate.raw)
    line = parse(json.dumps(record | changes).encode())
    expected = Expected(content_digest(record), candidate.revision)
    [outcome] = mirror.accept_edits(mirror.take_over(), File.CANDIDATES, [Edit(id, expected, line)], trusted=False)
    assert outcome.verdict is Verdict.EDITED


def delete(ledger: Any, id: str) -> None:
    """Another program removes a record of the candidates file."""
    mirror, candidate = ledger.mirror(), ledger.read(lambda r: r.candidate(id))
    expected = Expected(content_digest(load(candidate.raw)), candidate.revision)
    [outcome] = mirror.accept_deletions(mirror.take_over(), File.CANDIDATES, [(id, expected)])
    assert outcome.verdict is Verdict.DELETED


def level(ledger: Any) -> None:
    """The mirror has brought everything to both files."""
    mirror = ledger.mirror()
    epoch, cursor = mirror.take_over(), Cursor(newest(ledger), 2**62)
    for file in File:
        mirror.set_report(epoch, file, FileReport(cursor, 0, 0))


def pruned(ledger: Any, keep: Keep, uptime: Uptime | None = None) -> int:
    """Raise the floors and prune all that can be. Returns how many rows went."""
    ledger.write(lambda tx: raise_floors(tx, keep, uptime)).result()
    total = 0
    while gone := ledger.write(lambda tx: prune(tx, 3)).result():
        total += gone
    return total


def changes(ledger: Any, **asked: Any) -> list[tuple[str, str]]:
    def read(reader: Any) -> list[tuple[str, str]]:
        query = HistoryQuery(**asked)
        return [(one.entry.id, str(one.entry.action)) for one in scan(reader, query) if one.entry is not None]

    found: list[tuple[str, str]] = ledger.read(read)
    return found


def sent(ledger: Any, revision: int) -> list[bytes]:
    def read(reader: Any) -> list[bytes]:
        found = exports(reader).export_batch(ExportSelection(revision), 0, 1_000, 1 << 30)
        return [found.ids, found.encoded] if found else []

    exported: list[bytes] = ledger.read(read)
    return exported


def count(ledger: Any, table: str) -> int:
    with ledger.session() as session:
        n: int = session.number(f"SELECT count(*) FROM {table}")
        return n


def claims_in(state: str) -> Any:
    from avocet_grpc.core.ports.claims import ClaimState, HeldBy

    return HeldBy(ClaimState(state), "bob")


def vars_of(outcome: Any) -> Any:
    return vars(outcome) if isinstance(outcome, Exception) else outcome


def team_line(n: int) -> ParsedLine:
    record = {"id": f"c{n:06d}", "status": "needs_review", "timestamp": f"2026-01-{n % 28 + 1:02}"}
    return parse(json.dumps(record | {"quality_score": n % 7 / 7, "model_response": "x" * 100}).encode())


def fill(ledger: Any, candidates: int) -> None:
    """Fill the store with candidates in review."""
    for start in range(0, candidates, 1_000):
        lines = [team_line(n) for n in range(start, min(candidates, start + 1_000))]
        ledger.write(lambda tx, lines=lines: imports.import_run(tx, "run", lines)).result()


class Fresh:
    """A fresh ledger and its clock for each test."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def ledger(self, tmp_path: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        runs = run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path, clock)
        yield ledger
        ledger.close()
        assert runs

    def open_ledger(self, tmp_path: Any, clock: Callable[[], float]) -> Any:
        raise NotImplementedError

    def pages(self, ledger: Any) -> int:
        """How many pages the database has, if this engine can tell; else always the same."""
        return 0
