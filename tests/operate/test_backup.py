"""A backup while the server works: what was acknowledged before it began is in it, and it can be started from."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.maintenance import backup as maintenance
from avocet_grpc.mirror.fs.disk import Disk
from tests.limited import limited
from tests.support import BIN, Server, eventually, record, records, write_records


def back_up(server: Server, target: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet-grpc"), "backup", "--data-dir", str(server.data), "--to", str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def knows(server: Server, id: str) -> bool:
    try:
        return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.id == id
    except grpc.RpcError:
        return False


def verified(server: Server) -> int:
    """The exit code of `avocet-grpc verify` on the server's data directory."""
    command = [str(BIN / "avocet-grpc"), "verify", "--data-dir", str(server.data)]
    return subprocess.run(command, timeout=60).returncode


class Busy:
    """Sibling, reviewer and another program at work on a server, until the block ends."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._ingest, self._decide, self._append)]
        self.ingested: list[str] = []
        self.approved: list[str] = []
        self.appended: list[str] = []

    def __enter__(self) -> Busy:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _numbers(self) -> Iterator[int]:
        number = 0
        while not self._end.wait(0.001):
            yield number
            number += 1

    def _ingest(self) -> None:
        for number in self._numbers():
            item = pb.IngestRequest(source="s", task_type="t", prompt=f"p{number}", correction="c" * 500)
            self.ingested.append(self._server.ingest(item).id)

    def _decide(self) -> None:
        for number in self._numbers():
            self._server.correct(f"c{number}")
            self.approved.append(f"c{number}")

    def _append(self) -> None:
        for number in self._numbers():
            with self._server.candidates.open("a") as file:
                file.write(json.dumps(record(f"other-{number}")) + "\n")
            self.appended.append(f"other-{number}")
            self._end.wait(0.02)


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "restored")
    yield server
    server.kill()


def test_a_backup_of_a_working_server_holds_all_that_was_acknowledged_before(
    stopped_server: Server, restored: Server, tmp_path: Path
) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(8_000)])
    stopped_server.candidates.chmod(0o640)
    server = stopped_server.start()
    with Busy(server) as busy:
        eventually(lambda: min(len(busy.ingested), len(busy.approved), len(busy.appended)) > 30, 30)
        ingested, approved, appended = list(busy.ingested), list(busy.approved), list(busy.appended)
        eventually(lambda: knows(server, appended[-1]))
        done = back_up(server, tmp_path / "backup")
        assert done.returncode == 0, done.stderr
        assert not server.process.poll()
    last_revision = server.stats().revision
    server.kill()

    shutil.rmtree(restored.data)
    shutil.copytree(tmp_path / "backup", restored.data)
    assert verified(restored) == 0
    restored.start()
    assert restored.stats().revision > last_revision
    examples = {e.id for response in restored.stub.StreamExport(pb.StreamExportRequest()) for e in response.examples}
    assert examples >= set(ingested) | set(approved)
    for id in (*appended, "c7999"):
        assert knows(restored, id)
    assert restored.correct("c7999").revision > last_revision
    assert restored.stop() == 0
    assert verified(restored) == 0
    ids = [one["id"] for one in records(restored.approved)]
    assert len(ids) == len(set(ids)) and set(ids) >= examples
    candidates = [one["id"] for one in records(restored.candidates)]
    assert len(candidates) == len(set(candidates)) and set(candidates) >= {*ingested, *appended, "c7999"}
    assert restored.candidates.stat().st_mode & 0o777 == 0o640


def test_a_backup_is_not_made_over_another_nor_of_what_is_no_data_directory(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "backup"
    assert back_up(server, target).returncode == 0
    again = back_up(server, target)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    server.data = tmp_path
    none = back_up(server, tmp_path / "other")
    assert (none.returncode, "not a server's data directory" in none.stderr) == (1, True)
    assert not (tmp_path / "other").exists() and "Traceback" not in none.stderr + again.stderr


def test_a_backup_removes_nothing_but_what_a_backup_that_was_killed_has_left(server: Server, tmp_path: Path) -> None:
    target, partial = tmp_path / "monday", tmp_path / "monday.partial"
    partial.mkdir()
    (partial / "precious").write_text("of somebody")
    refused = back_up(server, target)
    assert refused.returncode == 1 and f"{partial} is in the way" in refused.stderr
    assert (partial / "precious").read_text() == "of somebody" and not target.exists()
    (partial / "precious").rename(partial / maintenance.MARKER)
    (partial / ".avocet").mkdir()
    assert back_up(server, target).returncode == 0
    assert sorted(path.name for path in target.iterdir()) == [".avocet", "sft_approved.jsonl", "sft_candidates.jsonl"]
    assert not partial.exists()


@pytest.mark.parametrize("ends", ["whole", "removed"])
def test_a_backup_that_comes_as_another_one_ends_does_not_call_its_work_a_strangers(
    server: Server, tmp_path: Path, ends: str
) -> None:
    partial = tmp_path / "backup.partial"
    partial.mkdir()
    (partial / "sft_approved.jsonl").touch()
    command = [str(BIN / "avocet-grpc"), "backup", "--data-dir", str(server.data), "--to", str(tmp_path / "backup")]
    waiting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(1.5)
    assert waiting.poll() is None
    if ends == "whole":
        partial.rename(tmp_path / "backup")
    else:
        shutil.rmtree(partial)
    error = waiting.communicate(timeout=60)[1]
    assert waiting.returncode == (1 if ends == "whole" else 0)
    assert ("has just ended" in error) == (ends == "whole")


def test_of_two_backups_to_one_place_one_is_made_and_the_other_says_why_not(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 20_000) for n in range(2_000)])
    eventually(lambda: knows(server, "c1999"))
    command = [str(BIN / "avocet-grpc"), "backup", "--data-dir", str(server.data), "--to", str(tmp_path / "backup")]
    for pause in (0, 0.05, 0.2):
        shutil.rmtree(tmp_path / "backup", ignore_errors=True)
        both = []
        for _ in range(2):
            both.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            time.sleep(pause)
        ended = [(process.communicate(timeout=60)[1], process.returncode) for process in both]
        assert sorted(code for _, code in ended) == [0, 1], ended
        (why,) = [error for error, code in ended if code]
        assert "another backup to" in why or "is there already" in why
        assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup"]


@pytest.mark.parametrize("kind", ["in the data directory", "a link that leads nowhere", "below a file"])
def test_a_backup_is_not_begun_where_it_cannot_be_kept(server: Server, tmp_path: Path, kind: str) -> None:
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to("nowhere")
    file.touch()
    places = {"in the data directory": server.data / ".avocet" / "b", "a link that leads nowhere": link}
    done = back_up(server, places.get(kind, file / "b"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Errno" not in done.stderr, done.stderr
    assert "name a" in done.stderr and not (server.data / ".avocet" / "b").exists()


@pytest.mark.parametrize("too_large", ["the ledger", "a shared file"])
def test_a_backup_for_which_there_is_no_room_ends_with_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, too_large: str
) -> None:
    assert server.stop() == 0
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 20_000) for n in range(100)])
    server.start()
    assert server.stop() == 0
    room = 50_000 if too_large == "the ledger" else server.candidates.stat().st_size - 1
    command = [str(BIN / "avocet-grpc"), "backup", "--data-dir", str(server.data), "--to", str(tmp_path / "copy")]
    done = subprocess.run(limited(command, RLIMIT_FSIZE=room), capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("copying")]
    assert done.returncode == 1 and "Traceback" not in done.stderr and len(lines) == 1, done.stderr
    assert not list(tmp_path.glob("copy*"))
    assert back_up(server, tmp_path / "copy").returncode == 0
    server.start()


def test_a_stopped_server_is_backed_up_as_well(server: Server, restored: Server, tmp_path: Path) -> None:
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c"))
    assert server.stop() == 0
    assert back_up(server, tmp_path / "backup").returncode == 0
    shutil.rmtree(restored.data)
    shutil.copytree(tmp_path / "backup", restored.data)
    assert restored.start().stats().export_ready == 1
    assert server.start().stats().export_ready == 1


def test_a_damaged_ledger_is_not_backed_up_since_its_copy_could_pass_for_a_sound_one(
    server: Server, tmp_path: Path
) -> None:
    """A byte of a text that nothing but the seal vouches for: SQLite's own checks do not see it."""
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c", request_id="fingered"))
    assert server.stop() == 0
    ledger = server.data / ".avocet/ledger.db"
    content = ledger.read_bytes()
    at = content.index(b"fingered")
    ledger.write_bytes(content[:at] + b"l" + content[at + 1 :])
    before = ledger.read_bytes()
    refused = back_up(server, tmp_path / "backup")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "the ledger is damaged: it is not what the last clean stop left" in refused.stderr
    assert "avocet-grpc rebuild" in refused.stderr
    assert ledger.read_bytes() == before and not (tmp_path / "backup").exists()


def test_a_ledger_that_a_crash_left_damaged_is_not_backed_up(server: Server, tmp_path: Path) -> None:
    """Without a seal SQLite's own check of the copy has to tell it."""
    for number in range(300):
        server.ingest(pb.IngestRequest(source="s", task_type="t", prompt=f"prompt {number}", correction="c" * 900))
    assert server.stop() == 0
    server.start().kill()
    ledger = server.data / ".avocet/ledger.db"
    content, page = ledger.read_bytes(), 4096
    half = len(content) // page // 2
    damaged = b"".join(
        b"\xff" * page if half <= at < half + 20 else content[at * page : (at + 1) * page]
        for at in range(len(content) // page)
    )
    ledger.write_bytes(damaged)
    refused = back_up(server, tmp_path / "backup")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "backup").exists()


def test_a_link_to_a_file_is_backed_up_as_that_file_and_one_that_leads_nowhere_as_none(
    stopped_server: Server, tmp_path: Path
) -> None:
    elsewhere, copy = tmp_path / "elsewhere", tmp_path / "backup/sft_candidates.jsonl"
    write_records(elsewhere, [record("a")])
    elsewhere.chmod(0o640)
    stopped_server.candidates.symlink_to(elsewhere)
    assert stopped_server.start().stop() == 0
    assert back_up(stopped_server, tmp_path / "backup").returncode == 0
    assert copy.read_bytes() == elsewhere.read_bytes() and not copy.is_symlink()
    assert (copy.stat().st_mode, copy.stat().st_mtime) == (elsewhere.stat().st_mode, elsewhere.stat().st_mtime)
    elsewhere.unlink()
    assert back_up(stopped_server, tmp_path / "other").returncode == 0
    assert not (tmp_path / "other/sft_candidates.jsonl").exists()
    assert (tmp_path / "other/sft_approved.jsonl").exists()


def test_what_is_written_while_a_file_is_copied_does_not_make_the_backup_endless(
    stopped_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records(stopped_server.candidates, [record("a")])
    assert stopped_server.start().stop() == 0
    real, line = Disk.read, b'{"id": "more"}\n' * 100

    def read(disk: Disk, descriptor: int, length: int, offset: int) -> bytes:
        """Each time a part is read, another program has appended as much as was read before."""
        with stopped_server.candidates.open("ab") as file:
            file.write(line)
        return real(disk, descriptor, length, offset)

    before = stopped_server.candidates.read_bytes()
    monkeypatch.setattr(Disk, "read", read)
    maintenance.back_up(stopped_server.data, tmp_path / "backup", lambda *_: None)
    assert (tmp_path / "backup/sft_candidates.jsonl").read_bytes() == before
