"""Reading a shared file in one pass: its lines, what the ledger has of them, and whether it is still as it was."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.record import digest_of
from avocet_grpc.shared_files import scan
from avocet_grpc.shared_files.blocks import BLOCK_BYTES, Blocks
from avocet_grpc.shared_files.join import Join
from avocet_grpc.shared_files.reconcile import split_moves
from avocet_grpc.shared_files.scan import FileChanged, LineScanner, opened


def scanned(path: Path, start: int = 0) -> tuple[list[tuple[int, bytes]], LineScanner]:
    with opened(path) as descriptor:
        scanner = LineScanner(descriptor, start, path.stat().st_size)
        return list(scanner), scanner


@given(st.binary(max_size=60), st.integers(1, 9))
def test_lines_have_their_offsets_whatever_the_pieces_they_are_read_in(
    tmp_path_factory, data: bytes, piece: int
) -> None:
    path = tmp_path_factory.mktemp("scan") / "file"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "CHUNK_BYTES", piece)
        lines, scanner = scanned(path)
    assert [raw for _, raw in lines] == [raw for raw in data.split(b"\n")[:-1] if raw.strip()]
    assert all(data[offset : offset + len(raw)] == raw for offset, raw in lines)
    assert scanner.rest == data.rpartition(b"\n")[2]
    assert scanner.end == len(data) - len(scanner.rest)


def test_a_file_that_becomes_shorter_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\n")
    with opened(path) as descriptor, pytest.raises(FileChanged):
        list(LineScanner(descriptor, 0, 9))


LINES = st.lists(st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), max_size=12)


@given(LINES, LINES)
def test_a_join_pairs_all_that_both_have_and_says_where_it_went(ledger: list[bytes], file: list[bytes]) -> None:
    rows, at = [], 0
    for key, raw in enumerate(ledger, 1):
        rows.append((key, digest_of(raw), 0, at, len(raw)))
        at += len(raw) + 1
    join, at, places = Join(iter(rows)), 0, {}
    for raw in file:
        join.take(at, raw)
        places[at] = raw
        at += len(raw) + 1
    keys, left = join.finish()
    have, want = Counter(ledger), Counter(file)
    assert Counter(ledger[key - 1] for key in keys) == have - want
    assert Counter(places[one.offset] for one in left) == want - have
    offsets = {key: offset for key, _, _, offset, _ in rows}
    for first, last, by in join.moves:
        for key in range(first, last + 1):
            offsets[key] += by
    taken = [offsets[key] for key in range(1, len(ledger) + 1) if key not in keys]
    assert len(set(taken)) == len(taken)
    assert all(places[offsets[key]] == ledger[key - 1] for key in range(1, len(ledger) + 1) if key not in keys)


def test_a_line_that_goes_moves_the_others_as_one_stretch() -> None:
    rows = [(key, digest_of(b"%d" % key), 0, key * 10, 9) for key in range(1000)]
    join = Join(iter(rows))
    for key in range(1, 1000):
        join.take(key * 10 - 10, b"%d" % key)
    assert join.finish() == ([0], [])
    assert join.moves == [(1, 999, -10)]


def test_moves_are_split_so_that_no_transaction_takes_long() -> None:
    parts = list(split_moves([(1, 25, 3), (30, 31, 4)], 10))
    assert parts == [[(1, 10, 3)], [(11, 20, 3)], [(21, 25, 3), (30, 31, 4)]]


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 17])
def test_one_changed_byte_is_found_by_its_block_and_a_blanked_line_is_not(tmp_path: Path, size: int) -> None:
    path, rng = tmp_path / "file", random.Random(size)
    data = rng.randbytes(size)
    path.write_bytes(data + b"what is not known yet")
    blocks = Blocks()
    for start in range(0, size, 10_000):
        blocks.feed(data[start : min(size, start + 10_000)])
    descriptor = os.open(path, os.O_RDWR)
    assert blocks.size == size
    assert blocks.matches(descriptor, 0, size + 10)
    for at in {0, size // 2, size - 1} if size else set():
        os.pwrite(descriptor, bytes([data[at] ^ 1]), at)
        assert not blocks.matches(descriptor, 0, size)
        assert not blocks.matches(descriptor, at, at + 1)
        blocks.blank([(at, 1)], descriptor)
        assert blocks.matches(descriptor, 0, size)
    os.close(descriptor)
