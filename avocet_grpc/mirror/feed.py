"""What the ledger has and one file still lacks."""

from __future__ import annotations

from collections.abc import Collection

from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Changed, Cursor, MirrorReader

PAGE = 1_000
WAITING_BYTES = 8 * 1024 * 1024
WAITING_LINES = 5_000
LAST_KEY = 2**63 - 1


class Feed:
    """The changes of one file that wait to be written, in memory, the oldest first.

    State, not events: a record that changes again waits at its new place. They are read again after a restart, since
    `level` never passes the oldest change that waits.
    """

    def __init__(self, file: File, level: Cursor) -> None:
        self._file = file
        self._read_to = level
        self._waiting: dict[str, Changed] = {}
        self._more = self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_more(self) -> bool:
        """True if the ledger has further changes that were not read yet."""
        return self._more

    def poll(self, view: MirrorReader) -> None:
        """Read what changed, up to a bound. Raises FeedExpired."""
        if self._is_closed:
            return
        head = view.head().revision
        self._more = True
        size = sum(len(change.raw or b"") for change in self._waiting.values())
        while len(self._waiting) < WAITING_LINES and size < WAITING_BYTES:
            page = view.changes(self._file, self._read_to, PAGE)
            for change in page:
                # A state that came before is not the oldest any more.
                self._waiting.pop(change.id, None)
                self._waiting[change.id] = change
                size += len(change.raw or b"")
                self._read_to = Cursor(change.revision, change.key)
            if not page:
                self._more = False
                self._read_to = max(self._read_to, Cursor(head, LAST_KEY))
                return

    def changes(self) -> list[Changed]:
        """Return what waits, the oldest first."""
        return sorted(self._waiting.values(), key=lambda change: (change.revision, change.key))

    def level_without(self, done: Collection[str]) -> Cursor:
        """Return the level once the changes of these ids are in the file."""
        left = [(change.revision, change.key) for id, change in self._waiting.items() if id not in done]
        if not left:
            return self._read_to
        revision, key = min(left)
        return Cursor(revision, key - 1)

    def done(self, ids: Collection[str]) -> None:
        """The changes of these ids are in the file, and the index knows."""
        for id in ids:
            self._waiting.pop(id, None)

    def since(self) -> int:
        """Return the revision of the oldest change that waits, 0 if none does."""
        return min((change.revision for change in self._waiting.values()), default=0)

    def restart(self, level: Cursor) -> None:
        """Read again from there: the file was compared as a whole."""
        self._waiting.clear()
        self._read_to = level

    def close(self) -> None:
        """Read no more: whoever stops has all that it needs, and others go on changing the ledger."""
        self._is_closed, self._more = True, False
