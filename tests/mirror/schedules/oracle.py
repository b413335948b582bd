"""Who had seen what: whether another program's edit or deletion may count, and what the files must say at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from avocet_grpc.core.model import File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import (
    Changed,
    Edit,
    Expected,
    FileReport,
    Found,
    How,
    MirrorLedger,
    MirrorReader,
    Outcome,
    Verdict,
)
from tests.mirror.schedules.content import Content, alone, content_of, lines_of, record_of

Key = tuple[File, str]

LOOKED_S = 75
"""So long after its start, or after a deletion while it runs, the mirror has decided about what somebody deleted:
others are done with the file, or it waits no longer."""


class Violation(BaseException):
    """A promise was broken; the mirror must not take it for an error of its own."""


class Oracle:
    """What other programs read and wrote. `now` gives the time in seconds."""

    def __init__(self) -> None:
        self.basis: dict[tuple[File, str, Content], Content | str] = {}
        self.stood: dict[tuple[File, str, Content], set[Content]] = {}
        self.deleted: dict[Key, set[Content]] = {}
        self.deleted_at: dict[Key, tuple[float, set[Content]]] = {}
        self.omitted: set[Key] = set()
        self.omitted_lines: set[tuple[File, str, Content]] = set()
        self.stepped_back: set[tuple[File, str, Content]] = set()
        """Lines that another program's line replaced: they stay as duplicates, whoever wrote them."""
        self.foreign: set[bytes] = set()
        self.done: set[tuple[File, bytes]] = set()
        self.observed: dict[File, set[bytes]] = {file: set() for file in File}
        self.removed_by_service: set[Key] = set()
        self.time = self.started = 0.0
        self.looked = dict.fromkeys(File, -1e9)
        self.clean = False
        self.lenient = False

    def appended(self, file: File, record: dict[str, Any], seen: Iterable[bytes]) -> None:
        """Another program adds the record behind these lines."""
        self._wrote(file, record, "append", seen)

    def edited(self, file: File, before: dict[str, Any], after: dict[str, Any], seen: Iterable[bytes]) -> None:
        """Another program makes one record of another, having read these lines."""
        self._wrote(file, after, content_of(before), seen)

    def _wrote(self, file: File, record: dict[str, Any], basis: Content | str, seen: Iterable[bytes]) -> None:
        id, content = record["id"], content_of(record)
        self.basis[file, id, content] = basis
        self.stood[file, id, content] = {content_of(one) for raw in seen if (one := record_of(raw)) and one["id"] == id}

    def decided(self, file: File, id: str) -> None:
        """The service changed the record: lines of others may go with its old version."""
        for raw in self.foreign:
            record = record_of(raw)
            if record is not None and record["id"] == id:
                self.observed[file].discard(raw)
                self.done.add((file, raw))

    def deletes(self, file: File, id: str, seen: set[Content], at: float) -> None:
        """Another program deletes what it has seen of an id.

        So may one have done before, and the service may not have taken that in yet.
        """
        self.deleted[file, id] = self.deleted.get((file, id), set()) | seen
        self.deleted_at[file, id] = (at, self.deleted[file, id])

    def saw(self, file: File, lines: Iterable[bytes]) -> None:
        """The mirror took in what stands in the file."""
        self.observed[file] |= {raw for raw in lines if raw in self.foreign and (file, raw) not in self.done}

    def _root(self, file: File, id: str, content: Content | str | None, standing: Content) -> Content | str | None:
        while content != standing and isinstance(content, tuple) and (file, id, content) in self.basis:
            content = self.basis[file, id, content]
        return content

    def judge_edit(self, file: File, now: Changed, content: Content, what: str, lines: Sequence[bytes]) -> None:
        """A version `now` of the ledger was replaced."""
        id, standing = now.id, _content(now)
        if self.lenient or now.source is not Source.SERVICE or content.d == standing.d:
            return
        key = file, id, content
        # Its author saw the record, or an edit of it that the mirror had not taken in yet.
        saw = {self._root(file, id, one, standing) for one in self.stood.get(key, ())}
        root = self._root(file, id, self.basis.get(key), standing)
        if root == "append" and (self.clean or standing in saw):
            return
        # One program deleted what it had seen, and another added the id again before the mirror looked.
        at, seen = self.deleted_at.get((file, id), (-1e9, set()))
        is_unseen = self._may_wait(at) or self.looked[file] < at
        if root == "append" and is_unseen and standing in seen:
            return
        if what == "later line":
            if any(
                (record := record_of(raw)) and content_of(record) == standing and record["id"] == id for raw in lines
            ):
                return
            raise Violation(f"a decision on {id}, not in the file yet, was lost to a later line")
        if root != standing:
            if what == "edit" and any(self._edits(file, id, raw, standing) for raw in lines):
                # The decision is replaced by one of the two; which of them is the edit, nobody can tell.
                return
            raise Violation(f"a decision on {file.name} {id} was lost to a {what} of {self.basis.get(key)}")

    def _may_wait(self, deleted_at: float) -> bool:
        """Return whether the mirror may not have decided yet about what was deleted then."""
        return self.time - max(deleted_at, self.started) < LOOKED_S

    def _edits(self, file: File, id: str, raw: bytes, standing: Content) -> bool:
        """Return whether the line is an edit of this version by a program that had read it."""
        record = record_of(raw)
        if record is None or record["id"] != id or content_of(record) == standing:
            return False
        return self._root(file, id, content_of(record), standing) == standing

    def judge_deletion(self, file: File, now: Changed) -> None:
        """A record was deleted."""
        id, standing = now.id, _content(now)
        seen = self.deleted.get((file, id))
        if seen is None and now.source is Source.EXTERNAL and (file, id, standing) in self.omitted_lines:
            return
        if seen is None and (file, id) in self.deleted_at and self._may_wait(self.deleted_at[file, id][0]):
            seen = self.deleted_at[file, id][1]
        if seen is None:
            if now.source is Source.SERVICE or (file, id) not in self.omitted:
                raise Violation(f"{file.name} {id} was deleted though nobody deleted it")
            return
        if now.source is Source.SERVICE and standing not in {self._root(file, id, one, standing) for one in seen}:
            raise Violation(f"a decision on {file.name} {id} was deleted by somebody who had not seen it")

    def judge_new(self, file: File, id: str, content: Content) -> None:
        """A record appeared."""
        basis: Content | str | None = self.basis.get((file, id, content))
        while isinstance(basis, tuple) and (file, id, basis) in self.basis:
            basis = self.basis[file, id, basis]
        if (file, id) in self.removed_by_service and basis != "append" and not self.clean and not self.lenient:
            raise Violation(f"{file.name} {id}, which was undone, is back")
        self.removed_by_service.discard((file, id))


def _content(now: Changed) -> Content:
    record = record_of(now.raw or b"")
    assert record is not None
    return content_of(record)


def content_in(line: ParsedLine) -> Content:
    return content_of((record_of(line.raw) if line.columns else None) or {})


class JudgedLedger:
    """The real ledger, as the mirror sees it; each accepted command is held against what its author had seen.

    `before` and `after` are called around each command: others, or a kill, may come there.
    """

    def __init__(self, ledger: MirrorLedger, oracle: Oracle, world: Any) -> None:
        self._ledger, self._oracle, self._world = ledger, oracle, world

    def view(self) -> AbstractContextManager[MirrorReader]:
        return self._ledger.view()

    def take_over(self) -> int:
        return self._ledger.take_over()

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterator[Outcome]:
        yield from self._ledger.adopt(epoch, file, lines)
        self._world.step(False)

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        # A line of ours that stood there when the mirror read may be gone by the time of the verdict.
        stood = self._world.lines(file)
        self._world.step(False)
        before = self._before(file, [one.line.columns.id for one in lines if one.line.columns])
        outcomes = self._ledger.take_in(epoch, file, lines, how, trusted=trusted)
        for one, outcome in zip(lines, outcomes, strict=True):
            id = one.line.columns.id if one.line.columns else ""
            self._world.say("take in", how.name, file.name, one.line.raw, outcome.verdict.name)
            if outcome.verdict is Verdict.NEW:
                self._oracle.judge_new(file, id, content_in(one.line))
            elif outcome.verdict is Verdict.REPLACED and (now := before.get(id)) is not None and now.raw is not None:
                self._oracle.judge_edit(file, now, content_in(one.line), "later line", stood)
                self._oracle.stepped_back.add((file, id, _content(now)))
            if outcome.now is not None:
                before[id] = outcome.now
        self._world.step(False)
        return outcomes

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        self._world.step(False)
        before = self._before(file, [edit.id for edit in edits])
        outcomes = self._ledger.accept_edits(epoch, file, edits, trusted=trusted)
        for edit, outcome in zip(edits, outcomes, strict=True):
            self._world.say("edit", file.name, edit.line.raw, "fresh" * edit.fresh, outcome.verdict.name)
            now = before.get(edit.id)
            if outcome.verdict is Verdict.EDITED and now is not None and now.raw is not None:
                self._oracle.judge_edit(file, now, content_in(edit.line), "edit", self._world.lines(file))
        self._world.step(False)
        return outcomes

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        self._world.step(False)
        before = self._before(file, [id for id, _ in gone])
        outcomes = self._ledger.accept_deletions(epoch, file, gone)
        for (id, _), outcome in zip(gone, outcomes, strict=True):
            self._world.say("deletion", file.name, id, outcome.verdict.name)
            now = before.get(id)
            if outcome.verdict is Verdict.DELETED and now is not None and now.raw is not None:
                self._oracle.judge_deletion(file, now)
        self._world.step(False)
        return outcomes

    def respell(self, epoch: int, file: File, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        self._world.step(False)
        outcomes = self._ledger.respell(epoch, file, lines)
        self._world.step(False)
        return outcomes

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        self._ledger.set_report(epoch, file, report)

    def _before(self, file: File, ids: list[str]) -> dict[str, Changed]:
        with self._ledger.view() as view:
            return view.changed(file, ids)


def check_at_rest(ledger: MirrorLedger, oracle: Oracle, file: File, data: bytes) -> None:
    """The file alone says what the ledger has, nothing of ours is there twice or old, nothing of others is lost."""
    with ledger.view() as view:
        records = {one.id: one for one in view.records(file, 0, 10_000)}
    wanted = {id: _content(one) for id, one in records.items()}
    found = alone(file, data)
    if found != wanted:
        ids = [id for id in wanted.keys() | found.keys() if wanted.get(id) != found.get(id)]
        raise Violation(f"{file.name} alone: " + "; ".join(f"{i}: {found.get(i)}, ledger {wanted.get(i)}" for i in ids))
    lines = lines_of(data)
    for raw, times in Counter(lines).items():
        if times > 1 and raw not in oracle.foreign:
            raise Violation(f"{raw!r} stands {times} times in {file.name}")
    for raw in lines:
        record = record_of(raw)
        if record is None or raw in oracle.foreign or content_of(record) == wanted[record["id"]]:
            continue
        if (file, record["id"], content_of(record)) in oracle.stepped_back:
            continue
        if file is File.CANDIDATES or records[record["id"]].source is Source.SERVICE:
            raise Violation(f"an old line of ours stays in {file.name}: {raw!r}")
    _check_foreign(ledger, oracle, file, set(lines), wanted)


def _check_foreign(
    ledger: MirrorLedger, oracle: Oracle, file: File, there: set[bytes], wanted: dict[str, Content]
) -> None:
    from avocet_grpc.core.record import content_digest

    for raw in oracle.observed[file] - there:
        record = record_of(raw)
        if record is not None:
            if wanted.get(record["id"]) == content_of(record):
                continue
            with ledger.view() as view:
                if view.knows(file, [(record["id"], content_digest(record))]):
                    continue
        raise Violation(f"a line of others that was observed is gone from {file.name}: {raw!r}")
