"""The rows of one batch: what they are is taken from the table, under its lock, and their bytes are read without it."""

from __future__ import annotations

from avocet_grpc.core.ports.examples import Examples
from avocet_grpc.store.examples.layout import Array
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.place import BODIES, IDS
from avocet_grpc.store.examples.segment import Example, Segment
from avocet_grpc.store.examples.table import Table

PLACES = {BODIES: ("offset", "size"), IDS: ("id_offset", "id_size")}
"""The columns that say where an example, or its id, lies in a file."""


class Part:
    """The first of some rows that have at most so many bytes together, one at least. Of `stored` rows files know."""

    def __init__(self, table: Table, rows: Array, max_bytes: int, stored: int) -> None:
        self._one: dict[str, tuple[int, int]] | None = None
        wanted: Array | slice = _as_slice(rows)
        if isinstance(wanted, slice) and wanted.stop <= stored and self._is_one(table, wanted, max_bytes):
            return
        sizes = table["size"][wanted]
        self.size = int(np.add.reduce(sizes))
        if self.size > max_bytes:
            ends = np.cumsum(sizes, dtype="<i8")
            count = max(1, int(np.searchsorted(ends, max_bytes, side="right")))
            self.size, rows = int(ends[count - 1]), rows[:count]
            wanted = _as_slice(rows)
        self.last_key = int(table["key"][rows[-1]])
        # What is gone from the ledger has no id, not even a newline.
        self.count = int(np.count_nonzero(table["id_size"][wanted]))
        self.is_stored = (wanted.stop if isinstance(wanted, slice) else 1 + int(rows.max())) <= stored
        firsts, lasts = rows[:1], rows[-1:]
        if not self.is_stored:
            firsts = lasts = rows
            self._stored = rows < stored
            self._numbers, self._approved = table["number"][rows].tolist(), table["approved_revision"][rows].tolist()
        elif not isinstance(wanted, slice):
            # Rows that follow one another lie behind one another.
            cuts = np.flatnonzero(rows[1:] - rows[:-1] != 1)
            firsts, lasts = np.concatenate((firsts, rows[cuts + 1])), np.concatenate((rows[cuts], lasts))
        self._stretches = {
            name: (table[offset][firsts], table[offset][lasts] + table[size][lasts])
            for name, (offset, size) in PLACES.items()
        }

    def _is_one(self, table: Table, rows: slice, max_bytes: int) -> bool:
        """Note one stretch of each file, by numbers alone, unless it has too many bytes."""
        first, last = rows.start, rows.stop - 1
        one = {
            name: (table[offset].item(first), table[offset].item(last) + table[size].item(last))
            for name, (offset, size) in PLACES.items()
        }
        begin, end = one[BODIES]
        if end - begin > max_bytes:
            return False
        self._one, self.size, self.is_stored = one, end - begin, True
        self.last_key = table["key"].item(last)
        self.count = int(np.count_nonzero(table["id_size"][rows]))
        return True

    def read(self, segment: Segment) -> tuple[bytes, bytes]:
        """Return the ids and the encodings, if all are stored. Raises Damaged."""
        if self._one is not None:
            return segment.read_one(IDS, *self._one[IDS]), segment.read_one(BODIES, *self._one[BODIES])
        return segment.read(IDS, *self._stretches[IDS]), segment.read(BODIES, *self._stretches[BODIES])

    def read_each(self, segment: Segment | None, examples: Examples) -> list[Example]:
        """Return them one by one, from the files or else from the ledger; what is gone is left out. Raises Damaged."""
        identities = list(zip(self._numbers, self._approved, strict=True))
        asked = [number for number, is_stored in zip(self._numbers, self._stored, strict=True) if not is_stored]
        there = {(body.number, body.approved_revision): body for body in examples.bodies(asked)}
        found = list[Example]()
        for at, identity in enumerate(identities):
            if segment is not None and self._stored[at]:
                one = {
                    name: (begins[at : at + 1], ends[at : at + 1]) for name, (begins, ends) in self._stretches.items()
                }
                found.append(Example(segment.read(BODIES, *one[BODIES]), segment.read(IDS, *one[IDS])))
            elif (body := there.get(identity)) is not None:
                found.append(Example(body.encoded, f"{body.id}\n".encode("utf-8", "surrogatepass")))
        return found


def _as_slice(rows: Array) -> Array | slice:
    """Return the rows as a slice, which costs less to look up, if each follows the one before."""
    first, last = rows.item(0), rows.item(-1)
    is_one = last - first == len(rows) - 1 and bool((rows == np.arange(first, last + 1)).all())
    return slice(first, last + 1) if is_one else rows
