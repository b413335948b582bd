"""A twin of a shared file: the same bytes in another file, where lines are changed that others hold open in the first.

What a swap displaced is nearly a twin already, once nobody has it open: it lacks what was written since. So where
others hold a large file again and again, a change costs what is new, and not a copy of the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from avocet_grpc.shared_files import swap
from avocet_grpc.shared_files.blocks import Blocks, Span
from avocet_grpc.shared_files.patch import Change, Patched, apply, write_at


def level(source: int, size: int, target: int, common: int, blanked: Iterable[Span], blocks: Blocks) -> bool:
    """Make `target`, whose first `common` bytes are those of `source` before places were `blanked`, the same again.

    `blocks` are those of the first `size` bytes of `source`. Of an empty file, with nothing in `common`, it makes a
    copy. False where what was written does not give the same blocks. Raises OSError.
    """
    os.ftruncate(target, common)
    places = [(at, min(length, common - at)) for at, length in blanked if at < common]
    for at, length in places:
        write_at(target, b" " * length, at)
    os.lseek(target, common, os.SEEK_SET)
    end = common
    while end < size:
        end += swap.copy_some(source, target, end, size - end)
    return all(blocks.matches(target, at, at + length) for at, length in [*places, (max(0, common - 1), 2)])


def change(
    source: int,
    size: int,
    target: int,
    changes: Sequence[Change],
    new: Sequence[bytes],
    newline_first: bool,
    blocks: Blocks,
) -> Patched:
    """Make the changes in the twin, and give it the mode and owner of `source`; `blocks` are kept true.

    It is on the disk then. Raises OSError.
    """
    patched = apply(target, size, changes, new, newline_first, blocks)
    swap.take_after(target, source)
    os.fsync(target)
    return patched
