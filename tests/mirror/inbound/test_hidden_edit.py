"""An edit of the same length that an append in the same moment hides is noticed once the file is quiet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core import ingest
from avocet_grpc.core.model import CandidateFilter, Correction
from avocet_grpc.mirror.fs.block_digests import BLOCK_BYTES
from avocet_grpc.mirror.fs.disk import Stat
from avocet_grpc.mirror.inbound import look
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock, opened
from tests.mirror.traces import correct, line_of, rest, standing
from tests.support import Server, eventually, record, records, write_records

COUNT = 2_000
QUIET_S = 10


def test_an_edit_that_a_growth_hides_is_served_once_the_file_is_quiet(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n:04d}", task_name="before", model_response="x" * 500) for n in range(COUNT)])
    server = stopped_server.start()
    server.correct("c0007")
    eventually(lambda: {one["id"]: one for one in records(path)}["c0007"]["status"] == "approved")

    def name_of(id: str) -> str:
        return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.task_name

    with path.open("r+b") as file:
        at = file.read().index(b"before", path.stat().st_size // 2)
        file.seek(at)
        file.write(b"edited")
        file.seek(0, 2)
        file.write(json.dumps(record("new")).encode() + b"\n")
    eventually(lambda: server.stats().total == COUNT + 1)
    edited = [one["id"] for one in records(path) if one.get("task_name") == "edited"]
    assert len(edited) == 1
    assert name_of(edited[0]) == "before"
    eventually(lambda: name_of(edited[0]) == "edited", within=QUIET_S + 5)


class Editor:
    """Changes a word in the candidates file, once, when it is `due`."""

    path: Path | None = None

    def __init__(self, due: str) -> None:
        self.due = due

    def at(self, moment: str) -> None:
        if self.path is None or moment != self.due:
            return
        path, self.path = self.path, None
        with path.open("r+b") as file:
            file.seek(file.read().rindex(b"before"))
            file.write(b"edited")


class EditedWhileItSleeps(SteppedClock):
    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self._editor = editor

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._editor.at("the wait for a lease")


class EditedBeforeItWrites(CrashingDisk):
    def __init__(self, editor: Editor) -> None:
        super().__init__()
        self._editor = editor

    def append(self, descriptor: int, data: bytes) -> int:
        self._editor.at("the write")
        return super().append(descriptor, data)


def name_of(service: InProcess, id: str) -> Any:
    served = service.served(id)
    return served["task_name"] if served else None


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("due", ["the wait for a lease", "the write"])
def test_an_edit_that_our_own_append_hides_is_served_once_the_file_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: str, stopped: bool
) -> None:
    monkeypatch.setattr(look, "CHECK_BYTES", BLOCK_BYTES)
    path, editor = tmp_path / "sft_candidates.jsonl", Editor(due)
    write_records(path, [record(f"c{n}", task_name="before", model_response="x" * 3_000) for n in range(40)])
    clock, disk = EditedWhileItSleeps(editor), EditedBeforeItWrites(editor)
    with path.open("rb"):
        service = InProcess(tmp_path, clock, disk)
        service.open()
        assert service.round()
        service.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
        editor.path = path
        while not service.round():
            service.wait(0.1)
        assert editor.path is None, "there was no edit"
        if stopped:
            assert service.stop()
            service.open()
        service.wait(QUIET_S)
        for _ in range(6):
            service.round()
        assert name_of(service, "c39") == "edited"
        assert len(records(path)) == 41
        assert service.stop()


class CoarseTimes(CrashingDisk):
    """A file system whose times do not tell an edit from the writing before it."""

    def stat(self, path: Path) -> Stat | None:
        found = super().stat(path)
        return found and found._replace(mtime_ns=0, ctime_ns=0)

    def fstat(self, descriptor: int) -> Stat:
        return super().fstat(descriptor)._replace(mtime_ns=0, ctime_ns=0)


def test_an_edit_that_no_time_tells_holds_up_no_line_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}", task_name="before") for n in range(3)])
    with opened(tmp_path, disk=CoarseTimes()) as service:
        with path.open("ab") as file:
            file.write(b'{"torn')
        service.round()
        with path.open("r+b") as file:
            file.seek(file.read().rindex(b"before"))
            file.write(b"edited")
        for _ in range(2 * QUIET_S):
            service.wait(1)
            service.round()
        assert name_of(service, "c2") == "edited"
        assert service.ask(lambda reader: reader.stats(CandidateFilter())).malformed == 1


@pytest.fixture
def torn(tmp_path: Path) -> Iterator[tuple[InProcess, Path, list[bytes]]]:
    """A file of more than 64 KB whose last line has no newline."""
    lines = [*(line_of(f"c{n}") for n in range(10)), line_of("long", pad="x" * 100_000), line_of("z0"), line_of("z1")]
    lines[2] = line_of("c2", task_name="longer than others")
    path = tmp_path / "sft_candidates.jsonl"
    path.write_bytes(b"\n".join(lines))
    with opened(tmp_path) as made:
        made.wait(3_600)
        made.come_to_rest()
        yield made, path, lines


def test_an_edit_that_a_newline_at_the_end_hides_is_served(torn: tuple[InProcess, Path, list[bytes]]) -> None:
    service, path, lines = torn
    lines[1] = lines[1].replace(b"Blue sky", b"Blue sea")
    path.write_bytes(b"\n".join(lines) + b"\n")
    rest(service, 200)
    assert json.dumps(service.served("c1")).encode() == lines[1]


def test_lines_that_a_newline_at_the_end_hides_in_another_order_are_not_cut(
    torn: tuple[InProcess, Path, list[bytes]],
) -> None:
    service, path, lines = torn
    lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"\n".join(lines))
    rest(service, 200)
    lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"\n".join(lines) + b"\n")
    rest(service, 200)
    correct(service, "z0")
    rest(service, 200)
    assert service.stop()
    others = [[one for one in some if b'"z0"' not in one] for some in (standing(path), lines)]
    assert sorted(others[0]) == sorted(others[1])
