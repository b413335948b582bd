"""What becomes of the lines that other programs wrote: the ledger's verdict on each.

The mirror asks by the commands of `core/ports/mirror.py`, which name these rules. A verdict may be asked for again:
what was accepted has the ledger's content then, and what was overruled is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import ChangeAction, File, ParsedLine, Record, Source
from avocet_grpc.core.ports.ledger import HistoryEntry
from avocet_grpc.core.ports.mirror import Changed, Edit, Expected, Found, How, Outcome, Verdict
from avocet_grpc.core.record import content_of, difference, is_same, load, record_in
from avocet_grpc.core.review import status_of

ONLY_OF_THE_DECISION = ("reviewed_at", "corrected_response", "corrected_message")
"""Keys by which the line of an approved record tells the decision that made it."""


class ExternalTransaction(Protocol):
    """What the rules need of a transaction: the ledger's own has more, and a rehearsal of a command has no more."""

    def standing(self, file: File, id: str) -> Changed | None:
        """Return the record of the id as it is now, or its tombstone; None if the ledger never had one."""

    def knows(self, file: File, line: ParsedLine) -> bool:
        """Return whether the line's content is a past version of its record, was overruled, or was removed."""

    def newest_change(self, id: str, wanted: Callable[[HistoryEntry], bool]) -> HistoryEntry | None:
        """Return the newest change of this id that is `wanted`."""

    def new_revision(self) -> int:
        """Return the revision of this change; MUST be larger than every one before."""

    def put(self, file: File, line: ParsedLine, source: Source = Source.SERVICE, *, new_key: bool = False) -> int:
        """As in the port. `source` says who wrote the line; `new_key` moves an existing record behind all others."""

    def remove(self, file: File, id: str, source: Source = Source.SERVICE) -> None:
        """As in the port. `source` says who removed it."""

    def respell(self, file: File, line: ParsedLine) -> None:
        """Keep other bytes for the content that the record has; no new revision."""

    def know(self, file: File, line: ParsedLine) -> None:
        """Count the line's content as a past version of its record from now on."""

    def note(self, entry: HistoryEntry) -> None:
        """Add to the history."""


def take_in(tx: ExternalTransaction, file: File, found: Found, how: How, *, trusted: bool) -> Outcome:
    """Judge a line that the mirror's index does not know."""
    line, id = found.line, _id_of(found.line)
    now = tx.standing(file, id)
    if now is None or now.digest is None:
        return _take_in_new(tx, file, found, how, now, trusted=trusted)
    if now.digest == content_of(line):
        return Outcome(Verdict.SAME, now)
    if not trusted and tx.knows(file, line):
        return Outcome(Verdict.STALE, now)
    if file is File.CANDIDATES or not counts_more(line, now) or not _holds(found.expected, now):
        return Outcome(Verdict.DUPLICATE, now)
    if not trusted and found.unseen and now.source is Source.SERVICE and _is_of_what_was_undone(tx, line):
        _overrule(tx, file, line, now)
        return Outcome(Verdict.STALE, tx.standing(file, id))
    tx.put(file, line, Source.EXTERNAL, new_key=True)
    _note(tx, file, ChangeAction.EDIT, load(now.raw or b""), record_in(line))
    return Outcome(Verdict.REPLACED, tx.standing(file, id))


def accept_edit(tx: ExternalTransaction, file: File, edit: Edit, *, trusted: bool) -> Outcome:
    """Judge a record that another program changed."""
    line, now = edit.line, tx.standing(file, edit.id)
    if now is not None and now.digest == content_of(line):
        return Outcome(Verdict.SAME, now)
    known = tx.knows(file, line)
    if known and not trusted:
        return Outcome(Verdict.STALE, now)
    if now is None or now.raw is None or not _holds(edit.expected, now) or _is_blind(tx, edit, now):
        if not known:
            _overrule(tx, file, line, now)
        return Outcome(Verdict.OVERRULED, tx.standing(file, edit.id))
    tx.put(file, line, Source.EXTERNAL)
    _note(tx, file, ChangeAction.EDIT, load(now.raw), record_in(line))
    return Outcome(Verdict.EDITED, tx.standing(file, edit.id))


def accept_deletion(tx: ExternalTransaction, file: File, id: str, expected: Expected) -> Outcome:
    """Judge a record that disappeared from the file."""
    now = tx.standing(file, id)
    if now is None or now.raw is None:
        return Outcome(Verdict.DELETED, now)
    if not _holds(expected, now):
        return Outcome(Verdict.OVERRULED, now)
    tx.remove(file, id, Source.EXTERNAL)
    _note(tx, file, ChangeAction.REMOVE, load(now.raw), None)
    return Outcome(Verdict.DELETED, tx.standing(file, id))


def respell(tx: ExternalTransaction, file: File, id: str, expected: Expected, line: ParsedLine) -> Outcome:
    """Judge a line that has the same content in other bytes."""
    now = tx.standing(file, id)
    if now is None or now.digest is None or now.digest != content_of(line) or not _holds(expected, now):
        return Outcome(Verdict.OVERRULED, now)
    tx.respell(file, line)
    return Outcome(Verdict.SAME, tx.standing(file, id))


def _take_in_new(
    tx: ExternalTransaction, file: File, found: Found, how: How, tombstone: Changed | None, *, trusted: bool
) -> Outcome:
    line = found.line
    deleted_by_others = tombstone is not None and tombstone.source is Source.EXTERNAL
    if how is How.LATE and deleted_by_others:
        return Outcome(Verdict.STALE, tombstone)
    # What others deleted, others may bring back; what the service removed comes back by its own hand alone.
    if not trusted and not deleted_by_others and tx.knows(file, line):
        return Outcome(Verdict.STALE, tombstone)
    may_not_know = not trusted and found.unseen and not deleted_by_others
    if tombstone and may_not_know and (how is How.REWRITTEN or _is_of_what_was_undone(tx, line)):
        _overrule(tx, file, line, tombstone)
        return Outcome(Verdict.STALE, tx.standing(file, tombstone.id))
    tx.put(file, line, Source.EXTERNAL)
    _note(tx, file, ChangeAction.ADD, None, record_in(line))
    return Outcome(Verdict.NEW, tx.standing(file, _id_of(line)))


def _is_of_what_was_undone(tx: ExternalTransaction, line: ParsedLine) -> bool:
    """Return whether the line has what only an undone version had: its author read that, and may have edited it.

    The time of the review is of one decision alone, and hardly two people write the same correction.
    """
    record = record_in(line)

    def has_it(entry: HistoryEntry) -> bool:
        if entry.action != ChangeAction.UNDO or entry.change is None:
            return False
        was = json.loads(entry.change)["was"]
        return any(was.get(key) is not None and is_same(was[key], record.get(key)) for key in ONLY_OF_THE_DECISION)

    return tx.newest_change(_id_of(line), has_it) is not None


def _holds(expected: Expected, now: Changed) -> bool:
    """Return whether the record is what the mirror believed; without an index (no revision), by content alone."""
    if expected.digest != now.digest:
        return False
    return expected.revision is None or now.revision <= expected.revision


def _is_blind(tx: ExternalTransaction, edit: Edit, now: Changed) -> bool:
    """Return whether the edit may rest on a reading from before our last change: it lacks what that change set.

    The last change is enough: decisions and undos alternate, and an undo takes back all that its decision set.
    """
    if now.source is not Source.SERVICE or not (edit.fresh or edit.expected.revision is None):
        return False
    made = tx.newest_change(now.id, lambda entry: entry.revision <= now.revision)
    if made is None or made.revision != now.revision or made.source is not Source.SERVICE:
        return True
    if made.change is None:
        # The service made the record. An editor has read it, unless an older record had its id.
        return now.removed_revision != 0
    ours, edited = load(now.raw or b""), record_in(edit.line)
    return any(
        (key in ours) != (key in edited) or not is_same(ours.get(key), edited.get(key))
        for key in json.loads(made.change)["set"]
    )


def counts_more(line: ParsedLine, now: Changed) -> bool:
    """Return whether the line counts more than the record: the last exportable one of an id does, else the last."""
    return is_exportable(record_in(line)) or not is_exportable(load(now.raw or b""))


def _overrule(tx: ExternalTransaction, file: File, line: ParsedLine, now: Changed | None) -> None:
    """Note in the history what did not count. It is known from then on, so it is noted once."""
    tx.know(file, line)
    was = load(now.raw) if now is not None and now.raw is not None else None
    _note(tx, file, ChangeAction.OVERRULE, was, record_in(line))


def _note(tx: ExternalTransaction, file: File, action: ChangeAction, was: Record | None, record: Record | None) -> None:
    stands = was if action is ChangeAction.OVERRULE else record
    tx.note(
        HistoryEntry(
            revision=tx.new_revision(),
            file=file,
            id=(record or was or {})["id"],
            action=action,
            actor="",
            at=now_iso(),
            status_before=status_of(was),
            status_after=status_of(stands),
            change=None if was is None or record is None else difference(was, record),
            source=Source.EXTERNAL,
        )
    )


def _id_of(line: ParsedLine) -> str:
    if line.columns is None:
        raise ValueError("a malformed line is not a record")
    return line.columns.id
