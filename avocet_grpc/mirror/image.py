"""All that is known of one shared file, as a value that changes by named transitions only."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from avocet_grpc.core.ports.mirror import START, Cursor
from avocet_grpc.mirror.fs.block_digests import BlockDigests
from avocet_grpc.mirror.fs.signature import END_BYTES, Signature


class Trust(enum.Enum):
    """How much of the index is known to match the file."""

    EXACT = enum.auto()
    GREW = enum.auto()
    """The file grew, which may hide an edit of the same length: its blocks are compared once it is quiet."""
    MISMATCH = enum.auto()
    """The file is not as the index has it: compare the whole of it."""
    RESTORED = enum.auto()
    """The ledger is an older one, or another one: compare without the index."""


@dataclass(frozen=True, slots=True)
class FileImage:
    """One shared file as the index knows it. Immutable: each transition gives the image that takes its place.

    `signature` is None if there was no file. `read_to` is the byte up to which the file was read, and `end` holds the
    64 KB before it. `newlines` counts the lines before it, blank ones too, and `blank` the bytes that hold no line.
    `level`: every change up to it is in the file. `last_key` is the highest order key of a line. `checked` is the byte
    up to which a growth was found to hide nothing. `has_missing`: lines disappeared, and it is not decided yet whether
    they count as deleted. `put_back`: lines that another program's rewrite lacked must be written again. `why` says why
    the image is not trusted.
    """

    signature: Signature | None = None
    read_to: int = 0
    newlines: int = 0
    blank: int = 0
    level: Cursor = START
    incarnation: str = ""
    last_key: int = 0
    end: bytes = b""
    blocks: BlockDigests = field(default_factory=BlockDigests)
    trust: Trust = Trust.EXACT
    checked: int = 0
    has_missing: bool = False
    put_back: bool = False
    why: str = ""

    @property
    def is_read(self) -> bool:
        """True if the file has nothing behind what was read."""
        return self.read_to == (self.signature.size if self.signature else 0)

    @property
    def ends_torn(self) -> bool:
        """True if the last line has no newline."""
        return bool(self.end) and not self.end.endswith(b"\n")

    def imported(self, found: Signature, parts: Iterable[bytes], blank: int) -> FileImage:
        """Other programs appended these `parts`, of which `blank` bytes hold no line, and they are imported.

        Blanks alone may hide an edit too.
        """
        read_to, newlines, end, blocks = self.read_to, self.newlines, self.end, self.blocks.copy()
        for data in parts:
            if blocks.size == read_to:
                blocks.feed(data)
            read_to += len(data)
            newlines += data.count(b"\n")
            end = (end + data[-END_BYTES:])[-END_BYTES:]
        return replace(
            self,
            signature=found,
            read_to=read_to,
            newlines=newlines,
            blank=self.blank + max(0, blank),
            end=end,
            blocks=blocks,
            trust=Trust.GREW if self.trust is Trust.EXACT else self.trust,
            checked=0,
        )

    def ordered(self, last_key: int) -> FileImage:
        """Lines up to this order key were taken in."""
        return replace(self, last_key=max(self.last_key, last_key))

    def appended(self, found: Signature, data: bytes, last_key: int, level: Cursor, leased: bool) -> FileImage:
        """We wrote `data` to the end. Without a lease others may have made an edit that this hides."""
        return replace(
            self,
            signature=found,
            read_to=found.size,
            newlines=self.newlines + data.count(b"\n"),
            level=level,
            last_key=max(self.last_key, last_key),
            end=(self.end + data)[-END_BYTES:],
            blocks=self._fed(data),
            trust=self.trust if leased or self.trust is not Trust.EXACT else Trust.GREW,
            checked=self.checked if leased else 0,
        )

    def patched(
        self,
        found: Signature,
        blocks: BlockDigests,
        end: bytes,
        newlines: int,
        blank: int,
        last_key: int,
        level: Cursor,
    ) -> FileImage:
        """We wrote lines to the end and blanked others."""
        return replace(
            self,
            signature=found,
            read_to=found.size,
            newlines=self.newlines + newlines,
            blank=self.blank + blank,
            level=level,
            last_key=max(self.last_key, last_key),
            end=end,
            blocks=blocks,
        )

    def replaced(
        self,
        found: Signature,
        read_to: int,
        blocks: BlockDigests,
        end: bytes,
        newlines: int,
        blank: int,
        last_key: int,
        level: Cursor,
        grew: bool,
    ) -> FileImage:
        """Another file of ours took its place."""
        return replace(
            self,
            signature=found,
            read_to=read_to,
            newlines=newlines,
            blank=blank,
            level=level,
            last_key=max(self.last_key, last_key),
            end=end,
            blocks=blocks,
            trust=Trust.GREW if grew and self.trust is Trust.EXACT else self.trust,
            put_back=False,
        )

    def compared(
        self,
        found: Signature | None,
        blocks: BlockDigests,
        end: bytes,
        newlines: int,
        blank: int,
        last_key: int,
        *,
        grew: bool,
        has_missing: bool,
        put_back: bool,
    ) -> FileImage:
        """The whole file was read and compared with the index."""
        return replace(
            self,
            signature=found,
            read_to=found.size if found else 0,
            newlines=newlines,
            blank=blank,
            last_key=max(self.last_key, last_key),
            end=end,
            blocks=blocks,
            trust=Trust.GREW if grew else Trust.EXACT,
            checked=0,
            has_missing=has_missing,
            put_back=put_back,
            why="",
        )

    def unchanged(self, end: bytes) -> FileImage:
        """At a start the file is as it was noted; `end` are the last bytes that were read."""
        return replace(self, end=end)

    def touched(self, found: Signature) -> FileImage:
        """The disk refused a write of ours. The file is as it was, except for its times."""
        return replace(self, signature=found)

    def levelled(self, level: Cursor, *, nothing_owed: bool = False) -> FileImage:
        """Changes up to there are in the file."""
        return replace(self, level=level, put_back=self.put_back and not nothing_owed)

    def of_ledger(self, incarnation: str) -> FileImage:
        """The file follows this ledger from now on."""
        return replace(self, incarnation=incarnation)

    def learned(self, data: bytes) -> FileImage:
        """More of the file was read, to know the digests of its blocks."""
        return replace(self, blocks=self._added(data))

    def verified(self, checked: int) -> FileImage:
        """The blocks up to `checked` hide no edit behind the growth."""
        is_all = checked >= self.read_to
        exact = is_all and self.trust is Trust.GREW
        return replace(self, checked=0 if is_all else checked, trust=Trust.EXACT if exact else self.trust)

    def distrust(self, why: str) -> FileImage:
        """The file is not as the index has it, or may not be: the next look compares all of it."""
        return replace(self, trust=Trust.MISMATCH, why=why)

    def restored(self, why: str) -> FileImage:
        """The ledger is not the one that the index followed."""
        return replace(self, trust=Trust.RESTORED, why=why)

    def _fed(self, data: bytes) -> BlockDigests:
        return self._added(data) if self.blocks.size == self.read_to else self.blocks

    def _added(self, data: bytes) -> BlockDigests:
        blocks = self.blocks.copy()
        blocks.feed(data)
        return blocks
