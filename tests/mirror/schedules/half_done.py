"""What other programs have begun: a file that was read, and one that is half written."""

from __future__ import annotations

from typing import NamedTuple

from avocet_grpc.core.model import File
from tests.mirror.memory_disk import Inode
from tests.mirror.schedules.content import Content


class Reading:
    """What another program read, and when; `deleted` is what somebody had deleted before, with what he had seen."""

    def __init__(self, file: File, lines: list[bytes], at: float, deleted: dict[str, set[Content]]) -> None:
        self.file, self.lines, self.at, self.deleted = file, lines, at, deleted


class Piece(NamedTuple):
    """What a program that writes a whole file in place has still to write, and since when."""

    inode: Inode
    rest: bytes
    at: float
