"""What the mirror that shares tables with the ledger asks of it, beside `core/ports/ledger.py`.

`core/ports/mirror.py` takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from avocet_grpc.core.model import ExportRow, ExportSelection, File, LineKind, ParsedLine, Sync
from avocet_grpc.core.ports import ledger

T = TypeVar("T")

Place = tuple[int, bytes, int, int, bool]
"""The arguments of `Transaction.placed`: key, digest, offset, length, ours."""

Row = tuple[int, bytes, int, int | None, int | None]
"""A line in short: key, digest, sync, offset, length."""

Move = tuple[int, int, int]
"""Lines from one key to another, both included, stand this many bytes further on than before."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A shared file as the ledger last took it in: its signature, and up to which byte it was read.

    `blank` counts the bytes that hold no line.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    scanned: int
    blank: int = 0


@dataclass(frozen=True, slots=True)
class Durable:
    """What of a shared file is known to be on the disk: all lines up to `revision` that were there before `at`.

    `at` is Unix time in seconds.
    """

    revision: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class DisplacedFile:
    """A file that a swap takes away: its name beside the shared file, what it was, and up to which byte it was read.

    `size` is larger than any file's where what comes behind `read_to` may be known already.
    """

    name: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    read_to: int


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """A line as the ledger has it.

    `raw` is what the file shall hold. `offset` and `length` (bytes, without the newline) are where the file holds the
    line now, both None while it is not there; `file_digest` is the digest of what stands there. `synced_at` is the
    Unix time in seconds at which a write of ours last reached the file; 0 for a line that others wrote.
    """

    key: int
    file: File
    kind: LineKind
    id: str | None
    digest: bytes
    sync: Sync
    offset: int | None
    length: int | None
    file_digest: bytes | None
    synced_at: float
    revision: int


class Reader(ledger.Reader, Protocol):
    """One consistent view of the ledger. Every method raises StorageFailed where the storage does."""

    def export_rows(self, selection: ExportSelection, after_key: int, limit: int) -> list[ExportRow]:
        """At most `limit` examples of the selection after `after_key`, in the order of approval.

        MUST answer alike for the same selection, whatever is committed later.
        """

    def file_state(self, file: File) -> FileState | None:
        """The shared file as last taken in; None before the first time."""

    def pending(self, file: File, limit: int) -> list[LedgerLine]:
        """At most `limit` lines of the file that are not CLEAN, in key order."""

    def pending_count(self, file: File) -> int:
        """How many lines of the file are not CLEAN."""

    def lines(self, file: File) -> Iterator[LedgerLine]:
        """Every line of the file in key order."""

    def rows(self, file: File) -> Iterator[Row]:
        """Every line of the file in key order, in short. MUST NOT hold them all in memory."""

    def is_empty(self, file: File) -> bool:
        """True where the ledger has no line of the file."""

    def line(self, key: int) -> LedgerLine | None:
        """The line of this key."""

    def durable(self, file: File) -> Durable:
        """What of the file is known to be on the disk."""

    def displaced(self, file: File) -> list[DisplacedFile]:
        """The files that swaps took away and that are still watched, oldest first."""

    def duplicate_order(self, file: File) -> dict[str, list[int]]:
        """Of each id with several lines: the keys of those that are CLEAN, in their order in the file."""

    def has_malformed(self, file: File, digest: bytes) -> bool:
        """True where a malformed line of these bytes is known."""

    def has_duplicate(self, file: File, id: str, digest: bytes) -> bool:
        """True where a DUPLICATE line of this id and these bytes is known."""

    def line_of(self, file: File, id: str) -> LedgerLine | None:
        """The RECORD line of this id in the file."""

    def raw(self, key: int) -> bytes:
        """The bytes that the file shall hold for this line, without the newline."""

    def was_ours(self, file: File, id: str, digest: bytes) -> bool:
        """True where the record of this id was of this content at an older revision, or was removed by us so.

        `digest` is `core.record.content_digest`.
        """


class Transaction(Reader, ledger.Transaction, Protocol):
    """One change. All of it is committed, or nothing; all that it writes shares one new revision."""

    def add(self, file: File, line: ParsedLine) -> int:
        """A new record of ours, to be appended to the file (Sync.APPEND). Gives its key."""

    def replace(self, key: int, line: ParsedLine) -> None:
        """New content for a record, of the same id, to be changed in the file; the old content is kept for was_ours."""

    def adopt(self, file: File, line: ParsedLine, offset: int, length: int) -> LineKind:
        """A line that others wrote, at its place in the file (CLEAN).

        Decides what it counts as: MALFORMED without columns; DUPLICATE where a record of that id is there already
        (candidates: the first line is the record; approved: the last exportable line is what is exported).
        """

    def adopt_all(self, file: File, lines: Iterable[tuple[int, ParsedLine]]) -> None:
        """`adopt` for many lines of a file, each with its offset; MUST NOT hold them all in memory."""

    def save(self, file: File, line: ParsedLine) -> LineKind:
        """A line that others wrote and that no longer stands in the file: like `adopt`, but to be appended to it."""

    def respell(self, key: int, line: ParsedLine, offset: int) -> None:
        """Others wrote this record anew with the same content: keep their bytes, at their place (CLEAN)."""

    def edit(self, key: int, line: ParsedLine, offset: int, length: int) -> None:
        """Others changed this record: accept their content at its place (CLEAN)."""

    def forget(self, key: int) -> None:
        """Others deleted this line, or our removal reached the file: the ledger drops it; a duplicate of the id in
        the candidates file becomes the record."""

    def placed(self, key: int, digest: bytes, offset: int, length: int, ours: bool) -> None:
        """The file holds content `digest` of this line at this place; CLEAN if that is what it shall hold.

        `ours`: we wrote it just now (sets synced_at).
        """

    def placed_all(self, places: Iterable[Place]) -> None:
        """`placed` for many lines at once."""

    def settle_duplicates(self, file: File, before: Mapping[str, list[int]]) -> list[tuple[bytes, bytes]]:
        """Where others changed the order of lines of one id since `before`, that in the file says which of them counts.

        Gives the raw record before and after of each id whose record is another one now.
        """

    def moved_all(self, file: File, moves: Iterable[Move]) -> None:
        """The same lines stand elsewhere in the file."""

    def unplaced(self, key: int) -> None:
        """The file no longer holds the line: it waits to be appended."""

    def set_file_state(self, file: File, state: FileState) -> None:
        """The shared file as taken in now."""

    def set_durable(self, file: File, durable: Durable) -> None:
        """The file was synced."""

    def note_displaced(self, file: File, displaced: DisplacedFile) -> None:
        """Keep in mind a file that a swap takes away, or how far it was read."""

    def drop_displaced(self, file: File, name: str) -> None:
        """The displaced file is gone."""


class Store(ledger.Ledger, Protocol):
    """The ledger together with what it knows of the shared files."""

    def loading(self) -> AbstractContextManager[None]:
        """Inside, a ledger without lines takes them without making each change durable.

        At the end all of it is durable; after a crash inside, or an error, the ledger holds nothing. Nobody else may
        use it meanwhile. Raises OSError.
        """

    def read(self, work: Callable[[Reader], T]) -> T: ...

    def write(self, work: Callable[[Transaction], T]) -> Future[T]: ...

    def write_all(self, works: Sequence[Callable[[Transaction], T]]) -> Future[list[T | Exception]]: ...
