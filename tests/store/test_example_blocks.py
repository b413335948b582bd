"""Which blocks of the files of examples were checked."""

from __future__ import annotations

import numpy as np
import pytest

from avocet_grpc.store.examples.blocks import Blocks
from avocet_grpc.store.examples.layout import SEAL_ROW
from avocet_grpc.store.examples.place import BODIES


@pytest.fixture
def blocks() -> Blocks:
    """Five blocks of 100 bytes."""
    seals = np.zeros(5, SEAL_ROW)
    seals["start"], seals["end"] = range(0, 500, 100), range(100, 600, 100)
    found = Blocks()
    found.add(seals, are_checked=False)
    return found


def numbers(blocks: Blocks, begin: int, end: int) -> list[int]:
    return [block.number for block in blocks.unchecked(BODIES, begin, end)]


def test_a_stretch_has_each_block_that_it_touches(blocks: Blocks) -> None:
    assert numbers(blocks, 120, 380) == [1, 2, 3]
    assert numbers(blocks, 100, 200) == [1]
    assert numbers(blocks, 0, 500) == [0, 1, 2, 3, 4]


def test_a_block_is_checked_once(blocks: Blocks) -> None:
    blocks.note_checked(BODIES, 2)
    assert numbers(blocks, 0, 500) == [0, 1, 3, 4]
    assert not blocks.has_unchecked(BODIES, 210, 290)
    for number in range(5):
        blocks.note_checked(BODIES, number)
    assert numbers(blocks, 0, 500) == []
