"""The hashes by which splits choose, kept for each seed: to work them out takes longer than to send the examples."""

from __future__ import annotations

from collections import OrderedDict

from avocet_grpc.core.export import kept_together
from avocet_grpc.core.model import Split, SplitBy
from avocet_grpc.core.ports.examples import Examples
from avocet_grpc.store.examples.layout import Array
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.place import IDS
from avocet_grpc.store.examples.segment import Segment
from avocet_grpc.store.examples.table import Table, hashed

MOST = 8
"""Seeds, and ways to keep examples together, whose hashes are kept."""


class SplitHashes:
    """The hashes of the rows of one table. The caller holds a lock."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._kept: OrderedDict[tuple[int, SplitBy], Array] = OrderedDict()

    def of(self, split: Split, examples: Examples, covered: int, segment: Segment | None, stored: int) -> Array:
        """Return the hash of each row. `stored` rows have their ids in the segment. Raises Damaged.

        `covered` is the revision that the table has: what a view does not have yet is not kept.
        """
        if split.by is SplitBy.ID and split.seed == 0:
            return self._table["split"]
        asked = (split.seed, split.by)
        known = self._kept.get(asked, np.zeros(0, "<u8"))
        if len(known) < self._table.count:
            texts = self._texts(split.by, examples, len(known), segment, stored)
            known = np.concatenate([known, hashed(split.seed, texts)])
            if examples.head().revision < covered:
                return known
        self._kept[asked] = known
        self._kept.move_to_end(asked)
        if len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return known

    def _texts(self, by: SplitBy, examples: Examples, start: int, segment: Segment | None, stored: int) -> list[bytes]:
        """Return the texts of `core.export.kept_together` of the rows from `start` on."""
        if by is SplitBy.TASK:
            return self._told(examples, by, start)
        stored = max(start, stored if segment is not None else 0)
        ids = self._stored(segment, start, stored) + self._told(examples, SplitBy.ID, stored)
        if by is SplitBy.ID:
            return ids
        prompts = self._table["prompt"][start:]
        digests, has_one = prompts.tobytes(), np.any(prompts, axis=1)
        return [
            kept_together(by, "", digests[32 * at : 32 * at + 32], None) if has_one[at] else id
            for at, id in enumerate(ids)
        ]

    def _stored(self, segment: Segment | None, start: int, end: int) -> list[bytes]:
        """Return the ids of rows that the files have. They lie there in the order of the rows."""
        if segment is None or start == end:
            return []
        offsets, sizes = self._table["id_offset"][start:end], self._table["id_size"][start:end]
        joined, base = segment.read(IDS, offsets[:1], offsets[-1:] + sizes[-1:]), int(offsets[0])
        # What is gone from the ledger has no id, not even a newline.
        ends = (offsets + np.maximum(sizes.astype("<i8"), 1) - 1 - base).tolist()
        return [joined[a:b] for a, b in zip((offsets - base).tolist(), ends, strict=True)]

    def _told(self, examples: Examples, by: SplitBy, start: int) -> list[bytes]:
        """Return the texts as the ledger tells them; what is gone from it has none."""
        numbers, approved = self._table["number"][start:].tolist(), self._table["approved_revision"][start:].tolist()
        if not numbers:
            return []
        texts = {
            (each.number, each.approved_revision): kept_together(by, each.id, None, each.task_id)
            for each in examples.kept_together(min(numbers), max(numbers))
        }
        return [texts.get(each, b"") for each in zip(numbers, approved, strict=True)]
