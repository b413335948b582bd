"""The blocks of the files of examples: where each lies, and which were checked since anybody else changed the file."""

from __future__ import annotations

import threading
from typing import NamedTuple

from avocet_grpc.store.examples.layout import SEAL_ROW, Array
from avocet_grpc.store.examples.numeric import np
from avocet_grpc.store.examples.place import BODIES, IDS


class Block(NamedTuple):
    """A block of one file: where it lies, and the checksum of its bytes."""

    number: int
    start: int
    end: int
    sum: int


class _Columns(NamedTuple):
    start: str
    end: str
    sum: str


BLOCK = {BODIES: _Columns("start", "end", "sum"), IDS: _Columns("ids_start", "ids_end", "ids_sum")}
"""Where a seal says what a block is in each file."""


class Blocks:
    """Where each block begins and ends, and which were checked since the files were opened."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._count = 0
        self._seals = np.zeros(0, SEAL_ROW)
        self._starts = {name: np.zeros(0, "<i8") for name in BLOCK}
        self._are_checked = {name: np.zeros(0, bool) for name in BLOCK}
        self._unchecked = dict.fromkeys(BLOCK, 0)

    def add(self, seals: Array, *, are_checked: bool) -> None:
        """The next blocks, that these rows seal."""
        with self.lock:
            end = self._count + len(seals)
            if end > len(self._seals):
                more = end + end // 8 + 64 - len(self._seals)
                self._seals = np.concatenate([self._seals, np.zeros(more, SEAL_ROW)])
                for name in BLOCK:
                    self._starts[name] = np.concatenate([self._starts[name], np.zeros(more, "<i8")])
                    self._are_checked[name] = np.concatenate([self._are_checked[name], np.zeros(more, bool)])
            self._seals[self._count : end] = seals
            for name in BLOCK:
                self._starts[name][self._count : end] = seals[BLOCK[name].start]
                self._are_checked[name][self._count : end] = are_checked
                self._unchecked[name] += 0 if are_checked else len(seals)
            self._count = end

    def has_unchecked(self, name: str, begin: int, end: int) -> bool:
        """Return whether any block between these places of a file was not checked yet."""
        if not self._unchecked[name]:
            return False
        with self.lock:
            first, behind = self._between(name, begin, end)
            return not self._are_checked[name][first:behind].all()

    def unchecked(self, name: str, begin: int, end: int) -> list[Block]:
        """Return the blocks between these places of a file that were not checked yet, in order."""
        if not self._unchecked[name]:
            return []
        with self.lock:
            first, behind = self._between(name, begin, end)
            new = np.flatnonzero(~self._are_checked[name][first:behind]) + first
            return [self._block(name, number) for number in new.tolist()]

    def _between(self, name: str, begin: int, end: int) -> tuple[int, int]:
        """Return the number of the first block, and that behind the last."""
        starts = self._starts[name][: self._count]
        return int(starts.searchsorted(begin, side="right")) - 1, int(starts.searchsorted(end))

    def _block(self, name: str, number: int) -> Block:
        columns, seal = BLOCK[name], self._seals[number]
        return Block(number, int(seal[columns.start]), int(seal[columns.end]), int(seal[columns.sum]))

    def forget_checks(self, name: str) -> None:
        """The file was changed by somebody else: no block of it was checked."""
        with self.lock:
            self._are_checked[name][: self._count] = False
            self._unchecked[name] = self._count

    def note_checked(self, name: str, number: int) -> None:
        """A block is what was written."""
        with self.lock:
            self._unchecked[name] -= int(not self._are_checked[name][number])
            self._are_checked[name][number] = True
