"""Reading a shared file in one pass: its lines, what the index has of them, and whether it is still as it was."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.record import digest_of
from avocet_grpc.mirror.fs import scan
from avocet_grpc.mirror.fs.block_digests import BLOCK_BYTES, BlockDigests
from avocet_grpc.mirror.fs.disk import Disk, FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner
from avocet_grpc.mirror.inbound.line_diff import LineDiff
from avocet_grpc.mirror.index import Place

DISK = Disk()


@given(st.binary(max_size=60), st.integers(1, 9))
def test_lines_have_their_offsets_whatever_the_pieces_they_are_read_in(
    tmp_path_factory, data: bytes, piece: int
) -> None:
    path = tmp_path_factory.mktemp("scan") / "file"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch, DISK.reading(path) as descriptor:
        patch.setattr(scan, "CHUNK_BYTES", piece)
        lines = list(scanner := LineScanner(DISK, descriptor, 0, len(data)))
    assert [line.raw for line in lines] == [raw for raw in data.split(b"\n")[:-1] if raw.strip()]
    assert all(data[line.offset : line.offset + line.length] == line.raw for line in lines)
    rest = data.rpartition(b"\n")[2]
    assert (scanner.rest.raw if scanner.rest else b"") == (rest if rest.strip() else b"")
    assert scanner.end == len(data) - len(rest)


def test_a_file_that_becomes_shorter_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\n")
    with DISK.reading(path) as descriptor, pytest.raises(FileChanged):
        list(LineScanner(DISK, descriptor, 0, 9))


LINES = st.lists(st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), max_size=12)


def placed(lines: list[bytes]) -> dict[int, bytes]:
    """The lines by the offset at which each stands."""
    at, found = 0, {}
    for raw in lines:
        found[at] = raw
        at += len(raw) + 1
    return found


@given(LINES, LINES)
def test_the_index_and_a_file_are_paired_in_all_that_both_have(index: list[bytes], file: list[bytes]) -> None:
    noted = placed(index)
    rows = [Place(key, digest_of(raw), at, len(raw), key) for key, (at, raw) in enumerate(noted.items(), 1)]
    offsets = {row.key: row.offset for row in rows}
    diff = LineDiff(iter(rows), lambda key, offset: offsets.update({key: offset}))
    standing = placed(file)
    for number, (at, raw) in enumerate(standing.items(), 1):
        diff.take(Line(at, len(raw), digest_of(raw), raw, number))
    gone, unknown = diff.finish()
    have, want = Counter(index), Counter(file)
    assert Counter(index[row.key - 1] for row in gone) == have - want
    assert Counter(standing[one.offset] for one in unknown) == want - have
    paired = [row.key for row in rows if row.key not in {one.key for one in gone}]
    assert len({offsets[key] for key in paired}) == len(paired)
    assert all(standing[offsets[key] or 0] == index[key - 1] for key in paired)
    assert diff.has_moved == any(offsets[key] != rows[key - 1].offset for key in paired)


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 17])
def test_one_changed_byte_is_found_by_its_block_and_a_blanked_line_is_not(tmp_path: Path, size: int) -> None:
    path, rng = tmp_path / "file", random.Random(size)
    data = rng.randbytes(size)
    path.write_bytes(data + b"what is not known yet")
    blocks = BlockDigests()
    for start in range(0, size, 10_000):
        blocks.feed(data[start : min(size, start + 10_000)])
    descriptor = os.open(path, os.O_RDWR)
    assert blocks.size == size
    assert blocks.matches(DISK, descriptor, 0, size + 10)
    for at in {0, size // 2, size - 1} if size else set():
        os.pwrite(descriptor, bytes([data[at] ^ 1]), at)
        assert not blocks.matches(DISK, descriptor, 0, size)
        assert not blocks.matches(DISK, descriptor, at, at + 1)
        blocks.read_again(DISK, descriptor, [(at, 1)])
        assert blocks.matches(DISK, descriptor, 0, size)
    os.close(descriptor)
