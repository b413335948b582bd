"""What the mirror of the two shared files asks of the ledger.

The mirror is a follower. It reads the change feed and writes what changed into the files. What other programs did to
the files comes back as commands. The ledger knows no offset, inode or lease; the mirror knows no SQL of the ledger.

Any implementation MUST pass the ledger's suite. The mirror is written against this page alone.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from avocet_grpc.core.model import File, ParsedLine, Source


class FeedExpired(Exception):
    """The cursor is before what was pruned: compare the whole file with the ledger instead."""


class Fenced(Exception):
    """Another mirror has taken over: this one must stop writing at once."""


class NotEmpty(Exception):
    """The ledger has records of the file by now: it cannot be adopted any more."""


class Cursor(NamedTuple):
    """A position in the change feed: an import of many records shares one revision, so the key is part of it."""

    revision: int
    key: int


START = Cursor(0, 0)


class Changed(msgspec.Struct, frozen=True, gc=False):
    """A record as it is now, as the feed gives it: state, not event.

    `raw` is the line without its newline, and `digest` is `core.record.content_digest` of it; both are None for a
    tombstone. `key` orders the records of a file. `removed_revision` is when the id was last removed (0: never): each
    line of the id that the mirror noted before that revision must leave the file.
    """

    id: str
    key: int
    revision: int
    source: Source
    raw: bytes | None
    digest: bytes | None
    removed_revision: int = 0


class Expected(NamedTuple):
    """What the mirror believed when it looked: the version of an id that stands in the file.

    `revision` is None if the index was lost; then the digest alone counts. ABSENT: no line of the id stands there.
    """

    digest: bytes | None
    revision: int | None


ABSENT = Expected(None, None)


class How(enum.IntEnum):
    """How a line came into the file."""

    APPENDED = 0
    REWRITTEN = 1
    LATE = 2
    """It was appended to a file that a replacement had already displaced."""


@dataclass(frozen=True, slots=True)
class Found:
    """A line that another program wrote.

    `unseen`: its author may not know what the service did last with this id, which was less than 60 s ago, or has not
    reached the file yet.
    """

    line: ParsedLine
    expected: Expected = ABSENT
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Edit:
    """A record that another program changed.

    `fresh`: the version that the service wrote stood in the file for less than 60 s, so that the other program may
    have read the file before.
    """

    id: str
    expected: Expected
    line: ParsedLine
    fresh: bool = False


class Verdict(enum.IntEnum):
    """What a command decided about one line."""

    SAME = 0
    """The ledger has this content already."""
    NEW = 1
    """Taken in as a new record."""
    STALE = 2
    """An older version, or a record that the service removed: the ledger's version belongs in the file."""
    DUPLICATE = 3
    """A further line of an id that has a record: it stays in the file and is counted."""
    REPLACED = 4
    """Approved file: the line became the record, under a new key."""
    EDITED = 5
    """The change was accepted."""
    DELETED = 6
    """The deletion was accepted, or the record was gone already."""
    OVERRULED = 7
    """The record has changed since the mirror looked: the ledger's version belongs in the file."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one line, and the record as it is now (None: there is none). The feed does not bring it again."""

    verdict: Verdict
    now: Changed | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where the ledger stands. `incarnation` is another one after a restore or a rebuild; `epoch` fences mirrors."""

    incarnation: str
    revision: int
    epoch: int


@dataclass(frozen=True, slots=True)
class FileReport:
    """What the mirror tells of one file.

    `level`: every change up to this cursor is in the file; nothing later is pruned. `pending` counts changes that the
    file lacks, and `behind_since` is the Unix time in seconds since when it has lacked some (0: it lacks none).
    `clean`: the file was brought up to date, compacted and synced by a stop.
    """

    level: Cursor
    malformed: int
    duplicate_ids: int
    pending: int = 0
    behind_since: float = 0.0
    clean: bool = False


class MirrorReader(Protocol):
    """One consistent view of the ledger. Every method raises StorageFailed if the storage fails."""

    def head(self) -> Head:
        """Return the newest revision, the incarnation and the epoch."""

    def changes(self, file: File, after: Cursor, limit: int) -> list[Changed]:
        """Return at most `limit` records of the file whose last change is later than `after`, in (revision, key) order.

        They are fewer if their lines have many bytes; none: that was all. A removed record comes as a tombstone. MUST
        be complete: if a commit is visible, all earlier ones are. A change may come again. Raises FeedExpired if
        `after` is before what was pruned.
        """

    def records(self, file: File, after_key: int, limit: int) -> list[Changed]:
        """Return at most `limit` living records of the file after `after_key`, in key order.

        They are fewer if their lines have many bytes; none: that was all.
        """

    def changed(self, file: File, ids: Collection[str]) -> dict[str, Changed]:
        """Return the records of these ids as they are now, tombstones too; ids never seen are left out."""

    def knows(self, file: File, pairs: Collection[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
        """Return the (id, content digest) pairs that the ledger knows as past, as overruled, or as removed."""

    def is_empty(self, file: File) -> bool:
        """Return True if the ledger has never held a record of the file."""

    def report(self, file: File) -> FileReport | None:
        """Return the last report on the file."""


class MirrorCommands(Protocol):
    """What other programs did to the files, as commands.

    Each is one work: all or nothing, safe to repeat and to run twice. Each raises Fenced unless `epoch` is the head's,
    StorageFull or Overloaded if nothing was stored, StorageFailed if that is unknown. Nothing waits inside. The ledger
    judges in this order: same content, SAME; a known version, STALE; `expected` does not hold, OVERRULED; else accept.
    `expected` holds if the digests are equal and the record has not changed after that revision. What was overruled
    joins the known versions, so it is noted in the history once.
    """

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterable[Outcome]:
        """Take a whole file in at the first start: one revision, no history, all or nothing.

        Raises NotEmpty unless `is_empty(file)`. MUST NOT hold all lines in memory. Malformed lines are not sent.
        """

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        """Report lines that the index does not know.

        No record of the id: NEW, unless the content is known, or it was REWRITTEN while its removal is fresh (STALE).
        Candidates: a further line of a living id is a DUPLICATE. Approved: REPLACED if it counts more than the standing
        record (the last exportable line wins) and `expected` holds, else DUPLICATE. `trusted` lets known versions in.
        """

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        """Report changed records: SAME, STALE (not if trusted), OVERRULED, or EDITED with a revision of its own.

        A fresh edit over a SERVICE version is OVERRULED unless it holds the values that the service's change set.
        """

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        """Report records that disappeared: DELETED, or OVERRULED."""

    def respell(self, epoch: int, file: File, lines: Sequence[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        """Keep the bytes of lines with the same content. SAME or OVERRULED; no revision, no history."""

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        """Store the report: it feeds `Stats` and holds pruning back."""


class MirrorLedger(MirrorCommands, Protocol):
    """The ledger as one mirror sees it."""

    def view(self) -> AbstractContextManager[MirrorReader]:
        """Return one consistent view."""

    def take_over(self) -> int:
        """Fence every earlier mirror; returns this one's epoch."""
