"""Reading a shared file in one pass: its lines, what the index has of them, and whether it is still as it was."""

from __future__ import annotations

import json
import os
import random
import resource
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_grpc.core.record import digest_of
from avocet_grpc.mirror.fs import scan
from avocet_grpc.mirror.fs.block_digests import BLOCK_BYTES, BlockDigests
from avocet_grpc.mirror.fs.disk import Disk, FileChanged
from avocet_grpc.mirror.fs.scan import Line, LineScanner, stands
from avocet_grpc.mirror.inbound.line_diff import LineDiff
from avocet_grpc.mirror.index import Place

DISK = Disk()


def scanned(path: Path, start: int = 0) -> tuple[list[Line], LineScanner]:
    with DISK.reading(path) as descriptor:
        scanner = LineScanner(DISK, descriptor, start, path.stat().st_size)
        return list(scanner), scanner


# A byte order mark at the start belongs to no line: it has tests of its own.
WITHOUT_MARK = st.binary(max_size=60).filter(lambda data: not data.startswith(scan.BYTE_ORDER_MARK))


@given(WITHOUT_MARK, st.integers(1, 9), st.integers(1, 70))
def test_lines_have_their_offsets_whatever_the_pieces_they_are_read_in(
    tmp_path_factory, data: bytes, piece: int, limit: int
) -> None:
    path = tmp_path_factory.mktemp("scan") / "file"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "CHUNK_BYTES", piece)
        patch.setattr(scan, "MAX_LINE_BYTES", limit)
        lines, scanner = scanned(path)
    wanted = [raw for raw in data.split(b"\n")[:-1] if raw.strip()]
    assert [one.digest for one in lines] == [digest_of(raw) for raw in wanted]
    assert [one.length for one in lines] == [len(raw) for raw in wanted]
    assert all(one.raw == data[one.offset : one.offset + one.length] for one in lines if one.raw is not None)
    assert all((one.raw is None) == (one.length > limit) for one in lines)
    assert [one.number for one in lines] == [n for n, raw in enumerate(data.split(b"\n")[:-1], 1) if raw.strip()]
    rest = data.rpartition(b"\n")[2]
    assert (scanner.rest.digest if scanner.rest else None) == (digest_of(rest) if rest.strip() else None)
    assert scanner.end == len(data) - len(rest) and scanner.newlines == data.count(b"\n")


def test_a_byte_order_mark_at_the_start_belongs_to_no_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n")
    lines, _ = scanned(path)
    assert [(one.offset, one.raw) for one in lines] == [(3, b"{}"), (6, b"\xef\xbb\xbf{}")]


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\n", b"\xef\xbb\xbf \n\xef\xbb\xbf{}\n"])
def test_a_byte_order_mark_alone_is_no_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    lines, scanner = scanned(path)
    assert [one.raw for one in lines] == data.splitlines()[1:] and scanner.rest is None


def test_a_file_that_becomes_shorter_is_not_taken_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\nb\n")
    with DISK.reading(path) as descriptor, pytest.raises(FileChanged):
        list(LineScanner(DISK, descriptor, 0, 9))


def test_a_line_of_more_than_a_gigabyte_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before\n")
    os.truncate(path, 1_100_000_000)
    with path.open("ab") as file:
        file.write(b"\nbehind\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines, _ = scanned(path)
    assert [one.raw for one in lines] == [b"before", None, b"behind"]
    with DISK.reading(path) as descriptor:
        assert stands(DISK, descriptor, lines[1].offset, lines[1].length, lines[1].digest)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 450_000, "kB more than before"


LINES = st.lists(st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), max_size=12)


@given(LINES, LINES)
def test_a_diff_pairs_all_that_both_have_and_says_where_it_went(index: list[bytes], file: list[bytes]) -> None:
    rows, at = [], 0
    for key, raw in enumerate(index, 1):
        rows.append(Place(key, digest_of(raw), at, len(raw), key))
        at += len(raw) + 1
    offsets = {row.key: row.offset for row in rows}
    diff, at, places = LineDiff(iter(rows), offsets.__setitem__), 0, {}
    for number, raw in enumerate(file, 1):
        diff.take(Line(at, len(raw), digest_of(raw), raw, number))
        places[at] = raw
        at += len(raw) + 1
    gone, left = diff.finish()
    have, want = Counter(index), Counter(file)
    assert Counter(index[row.key - 1] for row in gone) == have - want
    assert Counter(places[one.offset] for one in left) == want - have
    keys = {row.key for row in gone}
    taken = [offsets[key] for key in offsets if key not in keys]
    assert len(set(taken)) == len(taken)
    assert all(places[offsets[key] or 0] == index[key - 1] for key in offsets if key not in keys)


def test_a_row_that_did_not_stand_in_the_file_is_said_to_be_back() -> None:
    raw = json.dumps({"id": "a"}).encode()
    moved: dict[int, int] = {}
    diff = LineDiff(iter([Place(7, digest_of(raw), None, len(raw), 7)]), moved.__setitem__)
    diff.take(Line(0, len(raw), digest_of(raw), raw, 1))
    assert diff.finish() == ([], []) and diff.returned == [7] and moved == {7: 0}


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 17])
def test_one_changed_byte_is_found_by_its_block_and_a_line_of_ours_that_was_blanked_is_not(
    tmp_path: Path, size: int
) -> None:
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
