"""The budget of unfinished lines: what uploads hold in memory while they wait for the rest of a line.

Nobody can tell whether the rest will come. So no upload waits for room here: if all together hold too much, the call
that holds most is ended.
"""

from __future__ import annotations

from collections.abc import Callable

from avocet_grpc.core.errors import CorrectionsError, Overloaded
from avocet_grpc.core.record import MAX_LINE_BYTES

MOST_BYTES = MAX_LINE_BYTES + (4 << 20)
"""Of all uploads of one process together: one line of any length that is not malformed, and the part that ends it."""


REFUSED = "too many bytes of unfinished lines"


class UnfinishedLines:
    """What all uploads hold, `most` bytes together."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._uploads: dict[Upload, int] = {}
        self.held = 0

    def upload(self, end: Callable[[CorrectionsError], None]) -> Upload:
        """Return the account of one upload, empty yet; to be used as a context. `end` ends the call."""
        return Upload(self, end)

    def change(self, upload: Upload, size: int) -> None:
        """The upload holds `size` bytes from now on. Raises Overloaded if it is the one to end."""
        self.forget(upload)
        self._uploads[upload] = size
        self.held += size
        while self.held > self._most:
            greediest = max(self._uploads, key=self._uploads.__getitem__)
            self.forget(greediest)
            # An error that had a name here would keep itself, by its stack, and all that its call holds.
            if greediest is upload:
                raise Overloaded(REFUSED)
            greediest.end(Overloaded(REFUSED))

    def forget(self, upload: Upload) -> None:
        """It has ended."""
        self.held -= self._uploads.pop(upload, 0)


class Upload:
    """What one upload holds."""

    def __init__(self, lines: UnfinishedLines, end: Callable[[CorrectionsError], None]) -> None:
        self._lines, self.end = lines, end

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.forget(self)

    def holds(self, size: int) -> None:
        """So many bytes are held from now on. Raises Overloaded."""
        self._lines.change(self, size)
