"""Lines with equal content in several spellings keep their bytes, also if they have to be put back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess, opened
from tests.mirror.traces import approved_line, correct, path_of, put_behind, rest, service, standing
from tests.support import record, write_records

__all__ = ["service"]


@pytest.mark.parametrize("file", list(File))
@pytest.mark.parametrize("how", ["at once", "later"])
def test_two_spellings_come_back_as_they_were_after_damage(service: InProcess, file: File, how: str) -> None:
    path = path_of(service, file)
    put_behind(path, approved_line("x", "y", 2) + b"\n")
    if how == "later":
        rest(service, 100)
    put_behind(path, approved_line("x", "y", 3) + b"\n")
    rest(service, 100)
    if file is File.CANDIDATES:
        # The first line counts there: another program sorts the file.
        path.write_bytes(b"\n".join(reversed(standing(path))) + b"\n")
        rest(service, 100)
    before = sorted(standing(path))
    os.truncate(path, 0)
    rest(service, 100)
    assert sorted(standing(path)) == before


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("at_first", [True, False])
@pytest.mark.parametrize("spaces", [1, 3])
def test_two_spellings_come_back_as_they_were_however_often_the_index_was_lost(
    tmp_path: Path, times: int, at_first: bool, spaces: int
) -> None:
    path = tmp_path / "sft_approved.jsonl"
    lines = [approved_line("x", "y", 2), approved_line("x", "y", spaces)]
    write_records(tmp_path / "sft_candidates.jsonl", [record("c1")])
    if at_first:
        path.write_bytes(b"\n".join(lines) + b"\n")
    with opened(tmp_path) as made:
        if not at_first:
            put_behind(path, b"\n".join(lines) + b"\n")
        rest(made, 100)
        for _ in range(times):
            made.crash()
            (tmp_path / ".avocet" / "mirror.db").unlink()
            made.open()
            rest(made, 100)
        os.truncate(path, 0)
        rest(made, 100)
        assert sorted(standing(path)) == sorted(lines)
        # A stop writes the file in the order of the records, each line by its noted length.
        correct(made, "c1")
        rest(made, 100)
        assert made.stop()
        *first, last = standing(path)
        assert sorted(first) == sorted(lines) and b'"c1"' in last
