"""How many examples an export has, counted once and from then on only by what has changed.

Every rank and every epoch of a training run asks for the same selection again. Its total is the one of before, and what
was approved since, less what was removed since. A cache and nothing more: it ends with the process.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from hashlib import sha256

from avocet_grpc.core.model import ExportSelection
from avocet_grpc.core.ports.ledger import Reader

MOST = 1_000
"""Selections whose totals are kept: the one that was asked for the longest ago goes first."""


class ExportTotals:
    """Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def total(self, reader: Reader, selection: ExportSelection) -> int:
        """Return what `reader.export_total` gives for a whole selection."""
        if selection.unique_prompts:
            # An approval elsewhere may remove one of these.
            return reader.export_total(selection, 0)
        asked = _digest(selection)
        with self._lock:
            revision, total = self._kept.get(asked, (0, 0))
        if revision != selection.revision:
            grown = self._growth(reader, selection, revision)
            total = self._counted(reader, selection) if grown is None else total + grown
        self._keep(asked, selection.revision, total)
        return total

    def _counted(self, reader: Reader, selection: ExportSelection) -> int:
        """Count what was not asked for yet. A side of a split is what the other one leaves of the whole."""
        if (split := selection.split) is not None:
            other = replace(selection, split=replace(split, validation=not split.validation))
            if self._is_kept(other):
                return self.total(reader, replace(selection, split=None)) - self.total(reader, other)
        return reader.export_total(selection, 0)

    def _is_kept(self, selection: ExportSelection) -> bool:
        with self._lock:
            return self._kept.get(_digest(selection), (0, 0))[0] == selection.revision

    def _growth(self, reader: Reader, selection: ExportSelection, revision: int) -> int | None:
        # What was removed before the first revision may be gone.
        if not reader.first_revision() <= revision < selection.revision:
            return None
        return reader.export_growth(selection, revision)

    def _keep(self, asked: bytes, revision: int, total: int) -> None:
        with self._lock:
            if revision >= self._kept.get(asked, (0, 0))[0]:
                self._kept[asked] = (revision, total)
                self._kept.move_to_end(asked)
            if len(self._kept) > MOST:
                self._kept.popitem(last=False)


def _digest(selection: ExportSelection) -> bytes:
    return sha256(repr(replace(selection, revision=0)).encode("utf-8", "surrogatepass")).digest()
