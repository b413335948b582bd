"""`verify`, `rebuild` and `backup` on a stopped data directory that was cut off, or is another user's or store's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.rebuild import Rebuild
from tests.store.test_rebuild_version_3 import make_old_with_files
from tests.support import BIN, Server, record, records, write_records

CUT_OFF = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = DELETE")
db.execute("PRAGMA cache_size = 5")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE bodies SET raw = zeroblob(3000)")
os._exit(9)
"""


@pytest.fixture
def cut_off(stopped_server: Server) -> Server:
    """A server that was stopped; then a process was killed in a change that has reached the ledger's file."""
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 2_000) for n in range(300)])
    server.start()
    server.correct("c0")
    assert server.stop() == 0
    ledger = DataDirectory(server.data).ledger
    ledger.with_name("ledger.db-seal").unlink()
    assert subprocess.run([sys.executable, "-c", CUT_OFF, str(ledger)]).returncode == 9
    assert ledger.with_name("ledger.db-journal").stat().st_size > 0
    return server


def command(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    line = [str(BIN / "avocet-grpc"), *words, "--data-dir", str(server.data)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def test_it_cannot_be_looked_at_and_the_next_start_heals_it(cut_off: Server) -> None:
    looked = command(cut_off, "verify")
    assert looked.returncode == 1, looked.stdout
    assert "cannot be looked at now" in looked.stderr and "rebuild" not in looked.stdout + looked.stderr
    cut_off.start()
    assert cut_off.stub.GetCandidate(pb.GetCandidateRequest(id="c0")).candidate.status == pb.CANDIDATE_STATUS_APPROVED
    assert cut_off.stop() == 0
    assert command(cut_off, "verify").returncode == 0


def test_a_rebuild_leaves_no_journal_beside_the_new_ledger(cut_off: Server) -> None:
    assert command(cut_off, "rebuild", "--yes").returncode == 0
    private = DataDirectory(cut_off.data).private
    assert not (private / "ledger.db-journal").exists()
    assert len([*private.glob("ledger-*.db-journal")]) == 1
    cut_off.start()
    assert cut_off.stats().total == 300


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("words", [("rebuild", "--yes"), ("backup", "--to", "copy")])
def test_what_root_makes_belongs_to_the_owner_of_the_data_directory(
    stopped_server: Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c0")])
    server.start()
    assert server.stop() == 0
    os.chown(server.data, 12_345, 12_345)
    for path in server.data.rglob("*"):
        os.chown(path, 12_345, 12_345)
    copy = tmp_path / "the copy"
    done = command(server, *(str(copy) if word == "copy" else word for word in words))
    assert done.returncode == 0, done.stderr
    made = copy / ".avocet" if copy.exists() else DataDirectory(server.data).private
    top = [copy] if copy.exists() else []
    assert {path.stat().st_uid for path in (*top, made, *made.rglob("*"))} == {12_345}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_service_of_root_in_the_directory_of_another_user_starts_after_a_rebuild(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c0")])
    os.chown(server.data, 12_345, 12_345)
    server.start()
    assert server.stop() == 0
    assert command(server, "rebuild", "--yes").returncode == 0
    assert server.start().stats().total == 1


def test_a_rebuild_without_a_ledger_leaves_nothing_behind(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("c0")])
    done = command(stopped_server, "rebuild", "--yes")
    assert done.returncode == 0 and "there is no ledger" in done.stdout
    assert [path.name for path in stopped_server.data.iterdir()] == ["sft_candidates.jsonl"]


def test_no_rebuild_overwrites_the_old_ledger_of_another_one(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c0")])
    server.start()
    server.correct("c0")
    assert server.stop() == 0
    before = DataDirectory(server.data).ledger.read_bytes()
    asides = [Rebuild(server.data).run()[1] for _ in range(5)]
    assert len(set(asides)) == 5 and all(aside is not None and aside.exists() for aside in asides)
    assert asides[0] is not None and asides[0].read_bytes() == before


def test_what_was_edited_by_hand_between_two_rebuilds_is_not_undone(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{number}") for number in range(4)])
    server.start()
    server.correct("c1", "by the service")
    assert server.stop() == 0
    assert command(server, "rebuild", "--yes").returncode == 0
    kept = [one for one in records(server.candidates) if one["id"] != "c3"]
    write_records(server.candidates, [one | {"task_name": "by hand"} if one["id"] == "c2" else one for one in kept])
    write_records(server.approved, [one | {"corrected_response": "by hand"} for one in records(server.approved)])
    again = command(server, "rebuild", "--yes")
    assert again.returncode == 0 and "Carried over" not in again.stdout
    server.start()
    assert server.stats().total == 3
    assert server.stub.GetCandidate(pb.GetCandidateRequest(id="c2")).candidate.task_name == "by hand"
    assert server.stop() == 0
    assert {one["id"]: one["task_name"] for one in records(server.candidates)}["c2"] == "by hand"
    assert [one["corrected_response"] for one in records(server.approved)] == ["by hand"]


def test_a_ledger_of_the_version_before_is_refused_until_a_start_has_upgraded_it(stopped_server: Server) -> None:
    server = stopped_server
    make_old_with_files(server.data)
    copy = [str(BIN / "avocet-grpc"), "store", "copy", "--from", str(server.data), "--to", "postgres://a@127.0.0.1:9/b"]
    for done in (command(server, "verify"), subprocess.run(copy, capture_output=True, text=True, timeout=60)):
        assert done.returncode == 1
        assert "of version 3, and this program of version 4: start the service once, which upgrades it" in done.stderr
    assert server.start().stop() == 0
    assert command(server, "verify").returncode == 0


@pytest.mark.parametrize("words", [("rebuild", "--yes"), ("backup", "--to", "copy")])
def test_the_old_ledger_of_a_store_in_postgresql_is_neither_backed_up_nor_made_again(
    stopped_server: Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    server = stopped_server
    server.start()
    assert server.stop() == 0
    DataDirectory(server.data).files_id.write_text("an id")
    copy = tmp_path / "the copy"
    done = command(server, *(str(copy) if word == "copy" else word for word in words))
    assert done.returncode == 1 and "PostgreSQL" in done.stderr
    assert not copy.exists()
