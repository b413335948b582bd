"""Whatever stands under a shared file's name, or in it, holds nothing up."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, CandidateFilter, Decision
from avocet_grpc.mirror.fs.disk import NotARegularFile
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock, opened
from tests.operate.memory import forget_peaks, peak_bytes
from tests.support import lines, record, records, write_records

HUGE = 1_100_000_000


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def put_odd(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_not_a_regular_file_is_refused_at_the_start_with_its_name(tmp_path: Path, kind: str) -> None:
    put_odd(tmp_path / "sft_candidates.jsonl", kind)
    service = InProcess(tmp_path, SteppedClock(), CrashingDisk())
    with pytest.raises(NotARegularFile, match=r"sft_candidates.*not a regular file|/dev/zero"):
        service.open()
    service.crash()


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_put_in_the_place_of_a_file_holds_nothing_up_and_the_file_is_level_once_it_is_gone(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}") for n in range(5)])
    with opened(tmp_path) as service:
        content = path.read_bytes()
        put_odd(path, kind)
        service.do(lambda tx: review.submit(tx, Decision("c3", Action.CORRECT, "better")))
        with pytest.raises(NotARegularFile):
            service.round()
        assert not service.mirror.round() or service.mirror.failures
        assert [one["id"] for one in records(tmp_path / "sft_approved.jsonl")] == ["c3"]
        path.rmdir() if kind == "directory" else path.unlink()
        path.write_bytes(content)
        service.wait(1)
        service.come_to_rest()
        assert sum(one["status"] == "approved" for one in records(path)) == 1


@pytest.mark.parametrize("at_start", [True, False])
def test_a_line_of_more_than_a_gigabyte_is_malformed_and_what_is_behind_it_is_served(
    tmp_path: Path, at_start: bool
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record("before")])

    def add() -> None:
        os.truncate(path, path.stat().st_size + HUGE)
        with path.open("ab") as file:
            file.write(b"\n" + json.dumps(record("behind")).encode() + b"\n")

    if at_start:
        add()
    before = resident()
    forget_peaks([os.getpid()])
    with capture_logs() as events, opened(tmp_path) as service:
        if not at_start:
            add()
            service.come_to_rest()
        assert service.served("behind")
        assert peak_bytes([os.getpid()]) - before < 450 << 20
        service.do(lambda tx: review.submit(tx, Decision("behind", Action.CORRECT, "better")))
        service.wait(2)
        service.come_to_rest()
        assert service.ask(lambda reader: reader.stats(CandidateFilter())).malformed == 1
        bad = [one for one in events if one["event"] == "malformed line"]
        assert [(one["line"], one["file"]) for one in bad] == [(2, path.name)] and "longer" in bad[0]["reason"]
        with path.open("rb") as file:
            file.seek(-4_000, os.SEEK_END)
            assert b"better" in file.read()
    path.unlink()


def test_a_byte_order_mark_does_not_make_the_first_record_malformed(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(record("a")).encode() + b"\n" + json.dumps(record("b")).encode() + b"\n"
    )
    with opened(tmp_path) as service:
        assert service.served("a") and service.served("b")
        service.do(lambda tx: review.submit(tx, Decision("a", Action.CORRECT, "better")))
        service.come_to_rest()
        assert service.stop()
    assert [one["id"] for one in records(path)] == ["a", "b"]


def test_a_byte_order_mark_does_not_make_the_first_example_malformed(tmp_path: Path) -> None:
    path = tmp_path / "sft_approved.jsonl"
    examples = [record(id, status="approved", corrected_response="better") for id in ("a", "b", "c")]
    a, b, c = (json.dumps(one).encode() + b"\n" for one in examples)
    path.write_bytes(b"\xef\xbb\xbf" + a + b)
    with opened(tmp_path) as service:
        for content, count in ((b"", 2), (c, 3)):
            with path.open("ab") as file:
                file.write(content)
            service.wait(1)
            service.come_to_rest()
            stats = service.ask(lambda reader: reader.stats(CandidateFilter()))
            assert (stats.export_ready, stats.malformed) == (count, 0)
        assert service.stop()
    assert path.read_bytes().removeprefix(b"\xef\xbb\xbf") == a + b + c


def test_a_new_malformed_line_is_logged_once_with_its_file_number_and_reason(tmp_path: Path) -> None:
    path = tmp_path / "sft_approved.jsonl"
    with capture_logs() as events, opened(tmp_path) as service:
        for raw in (b'{"id": "torn', b"[1]", b'{"no": "id"}'):
            with path.open("ab") as file:
                file.write(raw + b"\n")
            service.wait(1)
            service.come_to_rest()
        service.wait(20)
        service.come_to_rest()
        assert service.stop()
    bad = [one for one in events if one["event"] == "malformed line"]
    assert [(one["file"], one["line"]) for one in bad] == [(path.name, 1), (path.name, 2), (path.name, 3)]
    assert all(one["reason"] for one in bad) and len(lines(path)) == 3


def test_a_malformed_line_that_a_first_start_finds_is_logged_with_its_own_reason(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    path.write_text(f'{json.dumps(record("a"))}\n{{"broken\n')
    with capture_logs() as events, opened(tmp_path):
        pass
    bad = [one for one in events if one["event"] == "malformed line"]
    assert [(one["line"], one["reason"]) for one in bad] == [(2, "the line is not a JSON object")]


def test_a_comparison_holds_no_malformed_lines_however_many_there_are(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record("a")])
    with opened(tmp_path) as service:
        whole = path.read_bytes()
        with path.open("wb") as file:
            for number in range(12):
                file.write(b"%d" % number + b"x" * (10 << 20) + b"\n")
            file.write(whole)
        tracemalloc.start()
        try:
            with capture_logs() as events:
                service.wait(20)
                service.come_to_rest()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert sum(one["event"] == "malformed line" for one in events) == 12
        assert peak < 80 << 20, f"{peak >> 20} MB"
        assert service.stop()


@pytest.mark.parametrize("name", ["sft_candidates.jsonl", "sft_approved.jsonl"])
def test_a_malformed_line_that_was_logged_is_not_logged_again_after_a_stop_and_a_start(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name

    def logged(added: bytes) -> list[int]:
        """The lines that a run logs which finds these added at its start."""
        with path.open("ab") as file:
            file.write(added)
        with capture_logs() as events, opened(tmp_path) as service:
            assert service.stop()
        return [one["line"] for one in events if one["event"] == "malformed line"]

    assert logged(b"{broken\n") == [1]
    assert logged(b"") == []
    assert logged(b"[1]\n") == [2]
    assert logged(b"") == []
