"""`avocet-grpc store copy`: a ledger moves from its data directory into PostgreSQL, and nobody notices."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from tests.postgres import Postgres
from tests.rpc.test_ingest import request
from tests.support import BIN, Server, eventually, failure_of, make_run, record, write_records
from tests.team_suite.support import widest

WORD = "a\x01b\x02" + "w" * 700
"""A value that PostgreSQL neither keeps nor indexes as it is."""
REVIEWER = widest("kim")


def copy(data: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet-grpc"), "store", "copy", "--from", str(data), "--to", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def full(server: Server) -> Server:
    """A server that has something of everything."""
    odd = record("odd", source=WORD, model_name="a\0b")
    write_records(server.candidates, [record(f"c{n:02d}", quality_score=n / 40) for n in range(40)] + [odd])
    server.start()
    for n in range(0, 30, 2):
        server.correct(f"c{n:02d}", f"better {n}", reviewer="kim")
    make_run(server.runs, "run", count=30)
    server.set_runs_directory()
    server.stub.Import(pb.ImportRequest(run_id="run"))
    server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="before"))
    server.stub.Undo(pb.UndoRequest(id="c02"))
    server.correct("c01", "best", request_id="r1")
    server.ingest(request(request_id="r2", label="gold"))
    return server


def examples(server: Server, **fields: Any) -> list[bytes]:
    answers = server.stub.StreamExport(pb.StreamExportRequest(**fields))
    return [example.SerializeToString() for answer in answers for example in answer.examples]


def answers(server: Server, asked: dict[str, Any]) -> dict[str, Any]:
    """What the server says to calls that change nothing, or only repeat."""
    stub = server.stub
    watch = stub.Watch(pb.WatchRequest(resume_token=asked["watch"]), timeout=60)
    changes: list[bytes] = []
    while not changes or changes[-1] != asked["last"]:
        changes += [change.SerializeToString() for change in next(watch).changes]
    watch.cancel()
    return {
        "stats": stub.Stats(pb.StatsRequest()),
        "filtered": stub.Stats(pb.StatsRequest(filter=pb.CandidateFilter(sources=[WORD]))),
        "queue": stub.Queue(pb.QueueRequest(per_page=4, page_token=asked["page"])),
        "worst": stub.Queue(pb.QueueRequest(per_page=4, order=pb.ORDER_QUALITY)),
        "list": stub.ListCandidates(pb.ListCandidatesRequest(page_size=500)),
        "history": stub.ListHistory(pb.ListHistoryRequest(page_size=500)),
        "changes": changes,
        "snapshots": stub.ListSnapshots(pb.ListSnapshotsRequest()),
        "now": examples(server),
        "pinned": examples(server, at_revision=asked["revision"], batch_size=3),
        "snapshot": examples(server, snapshot="before"),
        "resumed": examples(server, resume_token=asked["resume"], batch_size=2),
        "decided": server.correct("c01", "best", request_id="r1"),
        "ingested": server.ingest(request(request_id="r2", label="gold")).id,
        "claimed": stub.GetCandidate(pb.GetCandidateRequest(id=asked["claimed"])),
    }


def test_tokens_pins_snapshots_request_ids_and_claims_say_the_same_before_and_after(
    stopped_server: Server, database: str, tmp_path: Path
) -> None:
    old = full(stopped_server)
    first = next(old.stub.StreamExport(pb.StreamExportRequest(batch_size=2)))
    (claim,) = old.stub.Claim(pb.ClaimRequest(reviewer="kim", limit=1, lease_seconds=600)).claims
    (postponed,) = old.stub.Claim(pb.ClaimRequest(reviewer=REVIEWER, limit=1)).claims
    old.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[postponed.lease_id], postpone_seconds=3_600))
    (newest,) = old.stub.ListHistory(pb.ListHistoryRequest(page_size=1)).changes
    pinned = old.stats().revision
    old.stub.Undo(pb.UndoRequest(id="c04"))
    asked = {
        "page": old.stub.Queue(pb.QueueRequest(per_page=4)).next_page_token,
        "resume": first.resume_token,
        "revision": pinned,
        "claimed": claim.candidate.id,
    }
    begin = old.stub.Watch(pb.WatchRequest(since_revision=newest.revision - 1), timeout=60)
    asked["watch"] = next(begin).resume_token
    begin.cancel()
    old.stub.Undo(pb.UndoRequest(id="c06"))
    (last,) = old.stub.ListHistory(pb.ListHistoryRequest(page_size=1)).changes
    asked["last"] = last.SerializeToString()
    before = answers(old, asked)
    assert old.stop() == 0
    said = copy(old.data, database)
    assert said.returncode == 0 and f"revision {before['stats'].revision}: copied" in said.stdout
    new = Server(tmp_path / "new", engine="postgres")
    new.environment["AVOCET_STORE"] = database
    try:
        new.start()
        after = answers(new, asked)
        for name in before:
            assert after[name] == before[name], name
        assert before["stats"].by_source[WORD] == 1
        # What comes next goes on from there.
        (other,) = new.stub.Claim(pb.ClaimRequest(reviewer=REVIEWER, limit=1)).claims
        assert other.candidate.id != postponed.candidate.id
        assert new.stub.RenewClaims(pb.RenewClaimsRequest(lease_ids=[claim.lease_id])).claims
        assert new.correct("c33").revision > before["stats"].revision
        assert copy(old.data, database).stdout.endswith("it was copied before\n")
    finally:
        new.kill()


def test_a_time_limit_of_the_database_ends_neither_a_copy_nor_the_check_of_it(
    stopped_server: Server, database: str, postgres: Postgres
) -> None:
    write_records(stopped_server.candidates, [record(f"c{n:05d}") for n in range(20_000)])
    assert stopped_server.start().stop() == 0
    postgres.limit_time(database, "60ms")
    said = copy(stopped_server.data, database)
    assert said.returncode == 0 and "copied" in said.stdout, said.stderr
    command = [str(BIN / "avocet-grpc"), "verify", "--store", database]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 0 and "the ledger is sound" in found.stdout, found.stderr


def test_what_cannot_be_copied_is_refused_and_says_why(
    stopped_server: Server, database: str, postgres: Postgres, tmp_path: Path
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("a")])
    server.start()
    taken = copy(server.data, database)
    assert taken.returncode == 3 and server.address in taken.stderr
    server.kill()
    killed = copy(server.data, database)
    assert killed.returncode == 1 and "did not stop cleanly" in killed.stderr
    server.start()
    assert server.stop() == 0
    empty = postgres.new_database("template0")
    unmade = copy(server.data, empty)
    assert unmade.returncode == 1 and "run: avocet-grpc migrate" in unmade.stderr
    postgres.drop(empty)
    nothing = copy(tmp_path, database)
    assert nothing.returncode == 1 and "is not the data directory of a service" in nothing.stderr
    other = Server(tmp_path / "other", engine="postgres")
    other.environment["AVOCET_STORE"] = database
    try:
        other.start().ingest(request())
        full = copy(server.data, database)
        assert full.returncode == 1 and "not empty" in full.stderr
        assert other.stats().total == 1
    finally:
        other.kill()
    wrong = copy(server.data, "postgres://a:hunter2@127.0.0.1:1/db")
    assert wrong.returncode == 1 and "hunter2" not in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_copy_that_is_killed_leaves_nothing_and_may_be_run_again(
    stopped_server: Server, postgres: Postgres, database: str
) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 500) for n in range(8_000)])
    server.start(within=60)
    before = server.stats()
    assert server.stop() == 0
    name = database.rpartition("/")[2]
    counted = "SELECT count(*) FROM records"
    busy = f"SELECT count(*) FROM pg_stat_progress_copy WHERE datname = '{name}' AND tuples_processed > {{0}}"
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    kills = 0
    for least in (100, 4_000, 7_000):
        command = [str(BIN / "avocet-grpc"), "store", "copy", "--from", str(server.data), "--to", database]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and postgres.execute(busy.format(least), name) == [(0,)]:
            time.sleep(0.005)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        eventually(lambda: postgres.execute(sessions, name) == [(0,)])
        assert postgres.execute(counted, name) == [(0,)]
        assert postgres.execute("SELECT next_key FROM head", name) == [(1,)]
    assert kills
    assert copy(server.data, database).returncode == 0
    assert DataDirectory(server.data).ledger.exists()
    other = Server(server.directory / "other", engine="postgres")
    other.environment["AVOCET_STORE"] = database
    try:
        assert other.start().stats() == before
        failure = failure_of(lambda: other.stub.GetCandidate(pb.GetCandidateRequest(id="c8000")))
        assert failure.reason == "CANDIDATE_NOT_FOUND"
    finally:
        other.kill()


def test_a_database_with_an_older_copy_is_refused(stopped_server: Server, database: str) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c0"), record("c1")])
    for id in ("c0", "c1"):
        server.start()
        server.correct(id)
        assert server.stop() == 0
        said = copy(server.data, database)
        assert said.returncode == (0 if id == "c0" else 1), said.stderr
    assert "older copy" in said.stderr


def test_the_old_ledger_beside_the_files_of_a_database_is_not_copied(stopped_server: Server, database: str) -> None:
    stopped_server.start()
    assert stopped_server.stop() == 0
    DataDirectory(stopped_server.data).files_id.write_text("an id")
    said = copy(stopped_server.data, database)
    assert said.returncode == 1 and "its ledger is an old one" in said.stderr
