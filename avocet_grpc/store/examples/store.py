"""The examples as exports read them: columns in memory, bytes in files, both derived from the ledger.

The columns follow the ledger before an export is answered. The bytes follow later, in the background: until then, and
if the files cannot be had, they are read from the ledger by the numbers of their rows.
"""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum, auto
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from avocet_grpc.core.model import ExportBatch, ExportSelection
from avocet_grpc.core.ports.examples import Examples, Removed
from avocet_grpc.store.examples.layout import MEMORY, ROW, Array
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.part import Part
from avocet_grpc.store.examples.place import Place
from avocet_grpc.store.examples.segment import Damaged, Example, NoRoomOnDisk, Segment
from avocet_grpc.store.examples.splits import SplitHashes
from avocet_grpc.store.examples.table import Table, facet_line, facets_of

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 5_000
"""Rows of the ledger that are in memory while the columns follow it."""
BLOCK_BYTES = 256 * 1024
"""Of the examples of one block, beside the last."""
BLOCK_ROWS = 4_096
KEPT_ROWS = 4_000_000
"""Of the selections that are kept, together."""
KEPT_SELECTIONS = 200


class NeedsLedger(Enum):
    """Says that the copy alone cannot answer."""

    NEEDS_LEDGER = auto()


NEEDS_LEDGER = NeedsLedger.NEEDS_LEDGER


class ExampleStore:
    """Any thread may ask; one thread keeps the files."""

    def __init__(self, directory: Path | None, check_room: Callable[[int], None]) -> None:
        """Keep the files below a directory; None: keep none. `check_room` raises NoRoom for too many bytes."""
        self._directory, self._check_room = directory, check_room
        self._place: Place | None = None
        self._lock = threading.RLock()
        self._forget("")

    def _forget(self, incarnation: str) -> None:
        """Know nothing of the examples."""
        self._incarnation, self._covered = incarnation, -1
        self._table = Table()
        self._drop()
        self._selections: OrderedDict[ExportSelection, Array] = OrderedDict()
        self._splits = SplitHashes(self._table)

    def total(self, examples: Examples, selection: ExportSelection, after_key: int) -> int:
        """Return how many examples the selection has after a key."""
        with self._lock:
            rows = self._rows_of(examples, selection)
            return len(rows) - self._start(rows, after_key)

    def batch(
        self, examples: Examples, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | None:
        """Return the next examples of the selection, as `core.ports.exports.ExportReader` says."""
        while True:
            with self._lock:
                part = self._part(self._rows_of(examples, selection), after_key, limit, max_bytes)
                segment = self._segment
            if part is None:
                return None
            self._check_room(part.size)
            try:
                if part.is_stored and segment is not None:
                    return ExportBatch(part.last_key, part.count, *part.read(segment))
                found = part.read_each(segment, examples)
            except Damaged as damage:
                self.give_back(segment, damage)
                continue
            if found:
                ids, encoded = b"".join([each.id for each in found]), b"".join([each.encoded for each in found])
                return ExportBatch(part.last_key, len(found), ids, encoded)
            # All of them are gone from the ledger.
            after_key = part.last_key

    def stored_batch(
        self, selection: ExportSelection, after_key: int, limit: int, max_bytes: int
    ) -> ExportBatch | NeedsLedger | None:
        """As `batch`, if neither the columns nor the bytes have to be asked of the ledger."""
        with self._lock:
            rows, segment = self._selections.get(selection), self._segment
            if rows is None:
                return NEEDS_LEDGER
            part = self._part(rows, after_key, limit, max_bytes)
        if part is None:
            return None
        if segment is None or not part.is_stored:
            return NEEDS_LEDGER
        self._check_room(part.size)
        try:
            return ExportBatch(part.last_key, part.count, *part.read(segment))
        except Damaged as damage:
            self.give_back(segment, damage)
            return NEEDS_LEDGER

    def _part(self, rows: Array, after_key: int, limit: int, max_bytes: int) -> Part | None:
        start = self._start(rows, after_key)
        return Part(self._table, rows[start : start + limit], max_bytes, self._stored) if start < len(rows) else None

    def _drop(self) -> None:
        """Use no files from now on."""
        self._segment: Segment | None = None
        self._stored = self._stored_facets = 0
        self._sealed = -1
        self._removals: list[tuple[int, int]] = []

    def give_back(self, segment: Segment | None = None, why: Damaged | None = None) -> None:
        """Remove the files, or these alone; others are made."""
        with self._lock:
            if self._segment is None or segment not in (None, self._segment):
                return
            if why is not None:
                log.info("the files of examples are made again", error=repr(why))
            self._drop()
            if self._place is not None:
                self._place.remove()

    def _rows_of(self, examples: Examples, selection: ExportSelection) -> Array:
        if selection.revision > self._covered:
            self.follow(examples)
        rows = self._selections.get(selection)
        if rows is None:
            rows = self._selections[selection] = self._chosen(examples, selection)
            kept = sum(map(len, self._selections.values()))
            while len(self._selections) > 1 and (kept > KEPT_ROWS or len(self._selections) > KEPT_SELECTIONS):
                kept -= len(self._selections.popitem(last=False)[1])
        self._selections.move_to_end(selection)
        return rows

    def _start(self, rows: Array, after_key: int) -> int:
        keys = self._table["key"]
        return bisect_right(rows, after_key, key=keys.__getitem__) if after_key else 0

    def follow(self, examples: Examples) -> None:
        """Bring the columns to the newest revision that this view of the ledger has."""
        head = examples.head()
        with self._lock:
            if head.incarnation != self._incarnation:
                self._forget(head.incarnation)
                self._load(head.incarnation)
                if self._covered > head.revision:
                    self._forget(head.incarnation)
            if self._covered < head.oldest:
                self._forget(head.incarnation)
            if head.revision <= self._covered:
                return
            mark = self._table.mark()
            try:
                found = examples.approved(self._covered)
                while some := list(islice(found, ROWS_AT_ONCE)):
                    self._table.add(some)
                if self._covered >= 0:
                    self._follow_removals(list(examples.removed(self._covered)))
            except BaseException:
                # The same is asked for again.
                self._table.go_back(mark)
                raise
            self._covered = head.revision

    def _follow_removals(self, removed: list[Removed]) -> None:
        if removed:
            keys, approved, revisions = map(list, zip(*removed, strict=True))
            noted = self._table.remove(keys, approved, revisions)
            self._removals += [each for each in noted if each[0] < self._stored]

    def _chosen(self, examples: Examples, selection: ExportSelection) -> Array:
        split = selection.split
        if split is None:
            return self._table.chosen(selection, None)
        try:
            hashes = self._splits.of(split, examples, self._covered, self._segment, self._stored)
        except Damaged as damage:
            self.give_back(self._segment, damage)
            hashes = self._splits.of(split, examples, self._covered, None, 0)
        return self._table.chosen(selection, hashes)

    def _load(self, incarnation: str) -> None:
        """Take what the files have, if they are of this ledger and whole."""
        with contextlib.suppress(FileNotFoundError), self._damage_noted():
            segment, table = Segment(self._own_place(), incarnation, new=False), Table()
            found = segment.load()
            table.add_facets(facets_of(found.facets))
            for rows, removals in segment.parts():
                table.append(rows)
                table["removed_revision"][removals["row"]] = removals["revision"]
            self._table, self._covered, self._segment = table, found.covered, segment
            self._splits = SplitHashes(table)
            self._stored, self._stored_facets, self._sealed = table.count, len(table.facets), found.covered

    @contextlib.contextmanager
    def _damage_noted(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (Damaged, OSError, ValueError, TypeError, IndexError) as error:
            log.info("the files of examples are made again", error=repr(error))

    def _own_place(self) -> Place:
        if self._directory is None:
            raise NoRoomOnDisk
        if self._place is None:
            self._place = Place(self._directory)
        return self._place

    def store_some(self, examples: Examples) -> None:
        """Store the next block in the files. Raises OSError: the files are given up then."""
        with self._lock:
            segment = self._segment or self._new_segment()
            start, covered, count = self._stored, self._covered, self._table.count
            if examples.head().revision < covered:
                # Another thread has seen more than this view.
                return
            ends = np.cumsum(self._table["size"][start : start + BLOCK_ROWS], dtype="<i8")
            end = min(count, start + 1 + int(np.searchsorted(ends, BLOCK_BYTES)))
            rows = np.zeros(end - start, ROW)
            for name in MEMORY.names or ():
                rows[name] = self._table[name][start:end]
            facets = self._table.facets[self._stored_facets :]
        found = _by_row(examples, rows)
        with self._lock:
            removals, self._removals = self._removals, []
        seals = covered if end == count else 0
        try:
            segment.remove(removals)
            segment.append(rows, found, b"".join(map(facet_line, facets)), seals)
        except Damaged as damage:
            self.give_back(segment, damage)
            return
        except Exception:
            self.give_back(segment)
            raise
        with self._lock:
            if self._segment is segment:
                self._note_stored(rows, start, end)
                self._stored_facets += len(facets)
                self._sealed = seals or self._sealed

    def _new_segment(self) -> Segment:
        try:
            self._segment = Segment(self._own_place(), self._incarnation, new=True)
        except OSError:
            # The directory may be gone.
            self._leave_place()
            raise
        return self._segment

    def _leave_place(self) -> None:
        if self._place is not None:
            self._place.close()
            self._place = None

    def _note_stored(self, rows: Array, start: int, end: int) -> None:
        for name in ("offset", "id_offset"):
            self._table[name][start:end] = rows[name]
        # Who reads from the files has no use for the size of what is gone.
        for name in ("size", "id_size"):
            self._table[name][start:end] = rows[name]
        self._stored = end
        # What was removed while the block was written stands in the table, and not in the files.
        now = self._table["removed_revision"][start:end]
        for row in np.flatnonzero(now != rows["removed_revision"]).tolist():
            self._removals.append((start + row, int(now[row])))

    def is_level(self) -> bool:
        """Return whether the files have all examples and removals that the columns have."""
        with self._lock:
            return self._segment is not None and self._stored == self._table.count and not self._removals

    def is_sealed(self) -> bool:
        """Return whether the files also say up to which revision they have all."""
        with self._lock:
            return self.is_level() and self._sealed == self._covered

    def forget_dead(self, examples: Examples) -> None:
        """Begin again if most of the rows are of examples that the ledger has no longer."""
        with self._lock:
            count, oldest = self._table.count, examples.head().oldest
            if 2 * np.count_nonzero(self._table["removed_revision"] <= oldest) <= count:
                return
            if 2 * examples.count() < count:
                self._forget(self._incarnation)
                self.follow(examples)

    def remove_unused(self) -> None:
        """Remove files that no process has: once there were more of them."""
        if self._place is not None:
            self._place.remove_others()

    def close(self) -> None:
        """Let another process have the files."""
        with self._lock:
            self._drop()
            self._leave_place()


def _by_row(examples: Examples, rows: Any) -> list[Example]:
    """Return the bytes of each row; empty ones if the ledger has it no longer."""
    numbers, approved = rows["number"].tolist(), rows["approved_revision"].tolist()
    there = {(body.number, body.approved_revision): body for body in examples.bodies(numbers)}
    found = [there.get(identity) for identity in zip(numbers, approved, strict=True)]
    return [
        Example(b"", b"") if body is None else Example(body.encoded, f"{body.id}\n".encode("utf-8", "surrogatepass"))
        for body in found
    ]
