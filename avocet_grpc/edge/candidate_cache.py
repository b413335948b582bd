"""Candidates as they were encoded for an earlier page: most pages are read again, and few of their records change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from avocet_grpc.core.model import Candidate
from avocet_grpc.edge.convert import candidate_message

MOST_BYTES = 8_000_000
LARGEST_BYTES = 64_000
"""A larger record is encoded each time: some of them would take the place of all others."""
ENTRY_BYTES = 400
"""What an entry takes beside its two byte strings, about."""


class Encoded(NamedTuple):
    """A `Candidate` message without what the record does not tell: its holder, and others with the same prompt."""

    prompt_digest: str
    message: bytes


class CandidateCache:
    """Keeps encoded candidates, the latest used, up to MOST_BYTES. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, bool], tuple[int, bytes, Encoded]] = OrderedDict()
        self._size = 0

    def encoded(self, candidate: Candidate, *, include_record: bool) -> Encoded:
        """Return the candidate, encoded now if its line or revision is another than that of the kept one."""
        key = candidate.key, include_record
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept[0] == candidate.revision and kept[1] == candidate.raw:
                self._kept.move_to_end(key)
                return kept[2]
        message = candidate_message(candidate, include_record=include_record)
        made = Encoded(message.prompt_digest, message.SerializeToString())
        if len(candidate.raw) <= LARGEST_BYTES:
            self._keep(key, candidate, made)
        return made

    def _keep(self, key: tuple[int, bool], candidate: Candidate, made: Encoded) -> None:
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._size -= _size(old)
            entry = candidate.revision, candidate.raw, made
            self._kept[key] = entry
            self._size += _size(entry)
            while self._size > MOST_BYTES:
                self._size -= _size(self._kept.popitem(last=False)[1])


def _size(entry: tuple[int, bytes, Encoded]) -> int:
    return len(entry[1]) + len(entry[2].message) + ENTRY_BYTES
