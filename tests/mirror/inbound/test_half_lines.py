"""Half lines: whose they are, and what becomes of them once they are ended."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import Crash, CrashingDisk, InProcess, opened
from tests.mirror.traces import correct, line_of, path_of, put_behind, rest, service, standing, wait
from tests.support import record, write_records

__all__ = ["service"]


@pytest.mark.parametrize("pause", [3, 8])
def test_a_line_that_another_program_ends_after_a_pause_is_one_record(service: InProcess, pause: int) -> None:
    """Its beginning is that of many records."""
    path = path_of(service, File.CANDIDATES)
    with path.open("ab", buffering=0) as file:
        file.write(line_of("n1") + b"\n" + line_of("n2") + b"\n" + line_of("n3")[:9])
        wait(service, pause)
        file.write(line_of("n3")[9:] + b"\n")
    rest(service, 100)
    assert standing(path)[-3:] == [line_of("n1"), line_of("n2"), line_of("n3")]
    assert service.served("n3") is not None


def test_half_a_line_of_a_program_that_died_stays(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    put_behind(path, line_of("n1") + b"\n" + line_of("n2")[:9])
    rest(service, 100)
    assert standing(path)[-2:] == [line_of("n1"), line_of("n2")[:9]]


def test_half_a_line_that_is_ended_while_nobody_serves_is_not_there_beside_the_whole(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    put_behind(path, line_of("n1")[:60])
    wait(service, 10)
    service.crash()
    put_behind(path, line_of("n1")[60:] + b"\n")
    service.open()
    rest(service, 100)
    assert standing(path)[8:] == [line_of("n1")]


def test_a_whole_record_without_a_newline_is_no_half_of_ours_when_the_index_is_lost(tmp_path: Path) -> None:
    """Without the blanks behind it, it is the beginning of the line that the ledger has."""
    path = tmp_path / "sft_candidates.jsonl"
    path.write_bytes(line_of("c0") + b"\r\n" + line_of("c1") + b"\r\n")
    with opened(tmp_path) as made:
        assert made.stop()
        path.write_bytes(line_of("c0") + b"\n" + line_of("c1"))
        (tmp_path / ".avocet" / "mirror.db").unlink()
        made.open()
        rest(made, 100)
        assert standing(path) == [line_of("c0"), line_of("c1")]


class HalfWritten(CrashingDisk):
    """Has room for half a line when it is `due`, and for nothing in the call after that."""

    due = False
    is_full = False

    def append(self, descriptor: int, data: bytes) -> int:
        if self.is_full:
            self.is_full = False
            raise OSError(errno.ENOSPC, "no room")
        if self.due:
            self.due, self.is_full = False, True
            return super().append(descriptor, data[:20])
        return super().append(descriptor, data)


def test_half_a_line_that_a_full_disk_left_of_ours_is_blanked(tmp_path: Path) -> None:
    disk, path = HalfWritten(), tmp_path / "sft_approved.jsonl"
    write_records(tmp_path / "sft_candidates.jsonl", [record("c0")])
    with opened(tmp_path, disk=disk) as made:
        made.wait(3_600)
        made.come_to_rest()
        correct(made, "c0")
        disk.due = True
        # Another program has the file open, so that the half cannot be cut off.
        with path.open("ab"), pytest.raises(OSError, match="no room"):
            wait(made, 2)
        rest(made, 30)
        (line,) = standing(path)
        assert json.loads(line)["corrected_response"] == "better"


class HalfBlanked(CrashingDisk):
    """A kill between the two writes that blank a line of more than 1 MB."""

    blanks = 0

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        if not data.strip(b" "):
            self.blanks += 1
            if self.blanks == 2:
                self.crashed = True
                raise Crash
        return super().write(descriptor, data, offset)


def test_a_kill_while_a_long_line_is_blanked_leaves_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    path.write_bytes(line_of("c0", pad="x" * 1_500_000) + b"\n" + line_of("c1") + b"\n")
    disk = HalfBlanked()
    with opened(tmp_path, disk=disk) as made:
        made.wait(3_600)
        made.come_to_rest()
        correct(made, "c0")
        with pytest.raises(Crash):
            rest(made, 10)
        made.crash()
        made.open()
        rest(made, 100)
        assert [len(one) for one in standing(path) if b'"id": "c' not in one] == []
