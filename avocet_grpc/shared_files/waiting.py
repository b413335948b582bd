"""Which lines that come to light in a file are our own."""

from __future__ import annotations

from collections import defaultdict, deque

from avocet_grpc.core.model import File, ParsedLine, Sync
from avocet_grpc.core.ports.files import LedgerLine, Transaction
from avocet_grpc.core.record import content_digest_before_4
from avocet_grpc.shared_files.patch import Change


class Waiting:
    """Lines of ours that the file may hold already although the ledger does not know."""

    def __init__(self, pending: list[LedgerLine]) -> None:
        self._by_digest: dict[bytes, deque[LedgerLine]] = defaultdict(deque)
        self._by_id: dict[str, LedgerLine] = {}
        for line in pending:
            # A removal without a place: its append reached the file, and the ledger could not note where.
            if line.sync in (Sync.APPEND, Sync.CHANGE) or (line.sync is Sync.REMOVE and line.offset is None):
                self._by_digest[line.digest].append(line)
                self._by_id[line.id or ""] = line

    def take(self, tx: Transaction, file: File, found: ParsedLine) -> LedgerLine | None:
        """The line that was written here, as it is or as it was before it was changed again; None for others' lines."""
        if same := self._by_digest.get(found.digest):
            line = same.popleft()
            self._by_id.pop(line.id or "", None)
            return line
        if found.columns is None or (known := self._by_id.get(found.columns.id)) is None:
            return None
        if not tx.was_ours(file, found.columns.id, content_digest_before_4(found.record or {})):
            return None
        self._by_digest[known.digest].remove(known)
        return self._by_id.pop(found.columns.id)


def standing(line: LedgerLine) -> list[Change]:
    """Where the file still holds what the line was before."""
    if line.offset is None or line.length is None or line.file_digest is None:
        return []
    return [Change(line.offset, line.length, line.file_digest, None)]
