"""The database is away, or a part of the keeper's server: the files wait, and are level again afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.cluster.support import ended, filled, ids, is_kept_in, new_server, own_postgres, soon, total
from tests.postgres import Postgres
from tests.support import BIN

WAITING = "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def own_database() -> Iterator[tuple[Postgres, str]]:
    """A database server that the test may kill, and the address of a database."""
    with own_postgres() as server:
        yield server, server.new_database()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("outlasts_lease", [False, True], ids=["for a moment", "for longer than the lease"])
def test_a_keeper_whose_database_was_away_goes_on_with_the_files(
    own_database: tuple[Postgres, str], tmp_path: Path, outlasts_lease: bool
) -> None:
    from avocet_grpc.store.postgres.keeper import TTL_S

    postgres, url = own_database
    keeper = filled(tmp_path / "keeper", url)
    with ended(keeper):
        keeper.correct("c1")
        soon(lambda: ids(keeper.approved) == ["c1"])
        mirror = keeper.processes("mirror")
        postgres.kill()
        with keeper.candidates.open("a") as file:
            file.write('{"id": "theirs", "status": "needs_review"}\n')
        time.sleep(TTL_S + 1 if outlasts_lease else 1)
        postgres.start()
        soon(lambda: total(keeper) == 6)
        keeper.correct("c2")
        soon(lambda: ids(keeper.approved) == ["c1", "c2"] and is_kept_in(url, keeper.data))
        assert keeper.processes("mirror") == mirror
        assert keeper.stop() == 0


@pytest.mark.timeout(300)
def test_a_take_over_whose_database_goes_away_says_where_it_has_put_what_was_in_the_directory(
    own_database: tuple[Postgres, str], tmp_path: Path
) -> None:
    postgres, url = own_database
    (tmp_path / "sft_candidates.jsonl").write_text('{"id": "old"}\n')
    with contextlib.closing(psycopg.connect(url)) as other:
        # The lease is taken once the directory is empty.
        other.execute("SELECT 1 FROM keeper FOR UPDATE")
        command = [str(BIN / "avocet-grpc"), "keeper", "take-over", "--store", url, "--data-dir", str(tmp_path)]
        taking = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            soon(lambda: "FOR UPDATE" in str(postgres.execute(WAITING)))
            postgres.kill()
            _, said = taking.communicate(timeout=60)
        finally:
            taking.kill()
    (aside,) = tmp_path.glob("before-take-over-*")
    assert taking.returncode == 1 and said.count("\n") == 1 and str(aside) in said, said
    assert ids(aside / "sft_candidates.jsonl") == ["old"]


@pytest.mark.timeout(300)
def test_a_killed_mirror_keeps_the_files_again_while_the_servers_calls_go_on(database: str, tmp_path: Path) -> None:
    keeper = filled(tmp_path / "keeper", database)
    other = new_server(tmp_path / "other", database).start()
    with ended(keeper, other):
        for n in range(3):
            (mirror,) = keeper.processes("mirror")
            os.kill(mirror, signal.SIGKILL)
            keeper.correct(f"c{n}")
            soon(lambda n=n: ids(keeper.approved) == [f"c{m}" for m in range(n + 1)])
        other.correct("c3")
        soon(lambda: len(ids(keeper.approved)) == 4)
        assert keeper.stop() == 0
