"""A mirror that takes a dead one's place finds a database that is too busy, or files of another ledger."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psycopg
import pytest

from avocet_grpc.exit_codes import ExitCode
from tests.cluster.support import ended, filled, ids, keeper, new_server, soon, state, total
from tests.postgres import Postgres
from tests.support import Server

ENDED = "process ended; it starts again"


def end_mirror(server: Server) -> None:
    (mirror,) = server.processes("mirror")
    os.kill(mirror, signal.SIGKILL)
    soon(lambda: [pid for pid in server.processes("mirror") if pid != mirror])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_first", [False, True], ids=["known files", "new files"])
def test_a_mirror_waits_until_a_busy_database_lets_it_compare_the_files(
    database: str, postgres: Postgres, tmp_path: Path, is_first: bool
) -> None:
    server = new_server(tmp_path, database, keeps=True) if is_first else filled(tmp_path, database)
    if is_first:
        server.candidates.write_text('{"id": "c1", "status": "needs_review"}\n')
    with ended(server), psycopg.connect(database) as other:
        name = database.rpartition("/")[2]
        postgres.execute(f"ALTER DATABASE {name} SET statement_timeout = '300ms'")
        other.execute("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        if is_first:
            process = server.spawn(server.directory / "server.log")
        else:
            end_mirror(server)
        try:
            soon(lambda: "shared files not compared: the database has too much to do" in server.log)
            time.sleep(3)
            other.rollback()
            postgres.execute(f"ALTER DATABASE {name} RESET statement_timeout")
            soon(lambda: "this server keeps the shared files" in server.log.rpartition("not compared")[2])
            soon(lambda: "listening on" in server.log)
            assert server.log.count("not compared") == 1
            assert server.log.count(ENDED) == (0 if is_first else 1), server.log
        finally:
            if is_first:
                process.terminate()
                assert process.wait(60) == ExitCode.OK
        if not is_first:
            server.correct("c1")
            soon(lambda: ids(server.approved) == ["c1"])
            assert server.stop() == 0


@pytest.mark.timeout(300)
def test_a_mirror_that_starts_again_over_another_ledgers_files_says_so_once_and_calls_go_on(
    database: str, tmp_path: Path
) -> None:
    server = filled(tmp_path / "first", database)
    with ended(server):
        (server.data / ".avocet" / "files_id").write_text("of another ledger\n")
        soon(lambda: state(database).lag_revisions == 0)
        end_mirror(server)
        what = "this server cannot keep the shared files any more"
        soon(lambda: what in server.log)
        # A mirror that ended would have been started again by now, and a lease that nobody renews has ended.
        soon(lambda: not state(database).is_kept)
        time.sleep(3)
        assert server.log.count(what) == 1 and server.log.count(ENDED) == 1, server.log
        assert "has the files of another store" in server.log and "keeper take-over --store" in server.log
        server.correct("c1")
        assert total(server) == 5
        said = keeper("status", "--store", database)
        assert said.returncode == ExitCode.NOT_KEPT
        assert f":{server.data} was refused " in said.stdout and "does not have the files of this store" in said.stdout
        server.kill()
        new = new_server(tmp_path / "new", database, keeps=True)
        assert keeper("take-over", "--store", database, "--data-dir", str(new.data)).returncode == 0
        assert "refused" not in keeper("status", "--store", database).stdout


@pytest.mark.timeout(300)
def test_a_stop_before_the_lease_of_a_dead_keeper_has_ended_does_not_say_that_the_files_are_level(
    database: str, tmp_path: Path
) -> None:
    first = filled(tmp_path / "first", database)
    other = new_server(tmp_path / "other", database).start()
    with ended(first, other):
        soon(lambda: state(database).is_kept)
        first.kill()
        other.correct("c1")
        first.start()
        assert first.stop() == ExitCode.FILES_BEHIND
        assert "c1" not in ids(first.approved)
        first.start()
        soon(lambda: ids(first.approved) == ["c1"])
        assert first.stop() == ExitCode.OK
