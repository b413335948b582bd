"""The ledger of acks: what a service has acknowledged, what it left unknown, and what must therefore be there.

`Acks` is the book, kept by the clients of `load.py` and read by the judge in `check.py`. Each record is driven by one
caller at a time, and left alone while an outcome is unknown; so a record has one state that is sure, and at most one
that it may have instead.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support import Json

APPROVED = "approved"
NEEDS_REVIEW = "needs_review"


@dataclass(frozen=True, slots=True)
class State:
    """A record as a change left it.

    `fields` are all keys beside `status` that differ from the record without a decision. `revision` is None until it
    is known: Ingest and Import do not answer it.
    """

    status: str
    fields: tuple[tuple[str, str | None], ...] = ()
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One call that changes something: its action and actor as the history names them, the request's message, and the
    state that it makes."""

    action: str
    actor: str
    request: Any
    after: State


@dataclass(slots=True)
class Known:
    """A record that must be there.

    `original` is the record without a decision. `changes` are the acknowledged ones, oldest first; `doubt` is one
    whose outcome is unknown. `edited`: other programs changed it too, so that its revision may be a later one.
    """

    id: str
    original: Json
    state: State
    changes: list[Change] = field(default_factory=list)
    doubt: Change | None = None
    edited: bool = False
    busy: bool = False


@dataclass(slots=True)
class Unborn:
    """An Ingest or Import whose outcome is unknown: all of `originals` are there, or none."""

    change: Change
    originals: list[Json]


class Acks:
    """The book. Every method may be called from several threads. `seed` makes the choices of `take` repeatable."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.known: dict[str, Known] = {}
        self.unborn: list[Unborn] = []
        self.kept_lines: list[tuple[str, bytes]] = []
        self.wrong: list[str] = []
        self.acknowledged = 0
        self.unknown = 0
        self.refused = 0
        self.highest_revision = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._names = 0

    def add(self, contents: Iterable[Json]) -> None:
        """Records that stand in the candidates file by other hands, and that the service has seen."""
        with self._lock:
            for content in contents:
                self.known[content["id"]] = Known(content["id"], content, State(content["status"]))

    def edit(self, id: str, **changes: object) -> None:
        """Another program changed these keys of the record, and the service has seen it."""
        with self._lock:
            known = self.known[id]
            known.original = known.original | changes
            known.edited = True

    def drop(self, id: str) -> None:
        """Another program deleted the record, and meant it."""
        with self._lock:
            del self.known[id]

    def keep_line(self, name: str, raw: bytes) -> None:
        """A line that is not a record and must stay in the file of this name, byte for byte."""
        with self._lock:
            self.kept_lines.append((name, raw))

    def name(self, prefix: str) -> str:
        """A word that no other call has."""
        with self._lock:
            self._names += 1
            return f"{prefix}-{self.seed}-{self._names}"

    def take(self, in_review: bool) -> Known | None:
        """A record to work on, in review or decided, that nobody else works on; give it back by `acknowledge`,
        `leave_unknown` or `refuse`. None if there is none."""
        with self._lock:
            ids = list(self.known)
            for id in self._random.sample(ids, min(len(ids), 200)):
                known = self.known[id]
                if (known.state.status == NEEDS_REVIEW) == in_review and not known.busy and known.doubt is None:
                    known.busy = True
                    return known
        return None

    def acknowledge(self, known: Known, change: Change, revision: int) -> None:
        """The change was answered with this revision."""
        with self._lock:
            if known.state.revision is not None and revision <= known.state.revision:
                self.wrong.append(f"{known.id}: revision {revision} is not above {known.state.revision}")
            known.state = replace(change.after, revision=revision)
            known.changes.append(replace(change, after=known.state))
            known.busy = False
            self.acknowledged += 1
            self.highest_revision = max(self.highest_revision, revision)

    def leave_unknown(self, known: Known, change: Change) -> None:
        """The call failed, and nobody knows whether the change was made."""
        with self._lock:
            known.doubt, known.busy = change, False
            self.unknown += 1

    def refuse(self, known: Known | None = None) -> None:
        """The call failed, and says that nothing was stored."""
        with self._lock:
            if known is not None:
                known.busy = False
            self.refused += 1

    def acknowledge_new(self, change: Change, originals: list[Json]) -> None:
        """These records were made by an Ingest or Import that was answered."""
        with self._lock:
            for original in originals:
                self.known[original["id"]] = born(original, change)
            self.acknowledged += 1

    def leave_new_unknown(self, change: Change, originals: list[Json]) -> None:
        """An Ingest or Import failed, and nobody knows whether it was made. An ingested record has no id yet."""
        with self._lock:
            self.unborn.append(Unborn(change, originals))
            self.unknown += 1

    def forget_the_past(self) -> None:
        """The ledger was rebuilt: history, request ids and old revisions are gone, the records are not."""
        with self._lock:
            for known in self.known.values():
                known.changes, known.edited = [], False
                known.original = known.original | {"status": known.state.status} | dict(known.state.fields)
                known.state = State(known.state.status)


def born(original: Json, change: Change) -> Known:
    """The record that an Ingest or Import made."""
    return Known(original["id"], original, change.after, [change])
