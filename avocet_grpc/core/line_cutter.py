"""Cuts a stream of bytes into lines, whatever the pieces that it comes in."""

from __future__ import annotations

from collections.abc import Iterator

MAX_LINE_BYTES = 64_000_000
"""A longer line is malformed; no more of it than this is kept."""


class LineCutter:
    """Feed it bytes, take the lines; `finish` gives the last one, which may lack its newline.

    A line that is longer than `most` bytes comes cut to `most + 1`, so that whoever reads it finds it too long.
    """

    def __init__(self, most: int = MAX_LINE_BYTES) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._kept = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that end in `data`, without their newlines, blank ones too."""
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._keep(line)
            yield self._taken()
        self._keep(rest)

    def finish(self) -> Iterator[bytes]:
        """The line that the stream ended in; none if it ended with a newline."""
        if self._kept:
            yield self._taken()

    def _keep(self, piece: bytes) -> None:
        room = self._most + 1 - self._kept
        if piece and room > 0:
            self._pieces.append(piece[:room])
            self._kept += len(self._pieces[-1])

    def _taken(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces, self._kept = [], 0
        return line
