"""A file whose end was cut off, at odd places: nothing of it counts as deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess, opened
from tests.mirror.traces import approved_line, line_of, path_of, put_behind, rest, service, standing

__all__ = ["service"]


@pytest.mark.parametrize(
    ("first", "before", "behind", "cut"),
    [
        (b"", b"", b"\r", -1),
        (b"", b"", b"\r", -2),
        (b"", b"", b"  ", -1),
        (b"", b"", b"  ", -2),
        (b"", b"  ", b"", 1),
        (b"{\n", b"", b"", 1),
    ],
    ids=["newline", "blanks", "newline behind blanks", "one of two blanks", "in front", "as a malformed line"],
)
def test_nothing_is_deleted_wherever_a_file_is_cut(
    tmp_path: Path, first: bytes, before: bytes, behind: bytes, cut: int
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    lines = [first, *(before + line_of(f"c{n}") + behind + b"\n" for n in range(8))]
    path.write_bytes(b"".join(lines))
    with opened(tmp_path) as made:
        made.wait(3_600)
        made.come_to_rest()
        os.truncate(path, len(b"".join(lines[:5])) + cut)
        rest(made, 200)
        assert [made.actions(f"c{n}") for n in range(8)] == [[]] * 8
        assert all(made.served(f"c{n}") is not None for n in range(8))


@pytest.mark.parametrize("file", list(File))
def test_a_line_that_stood_twice_does_so_again_after_its_end_was_cut_off(service: InProcess, file: File) -> None:
    path = path_of(service, file)
    for id in ("x", "w", "z", "x"):
        put_behind(path, approved_line(id, "y") + b"\n")
    rest(service, 100)
    before = sorted(standing(path))
    os.truncate(path, path.read_bytes().rindex(b'{"id": "x"'))
    rest(service, 100)
    assert sorted(standing(path)) == before
