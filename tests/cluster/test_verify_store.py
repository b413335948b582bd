"""`avocet-grpc verify --store`: what is wrong with a ledger in a database, and how the files differ from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.store.postgres.connect import connect
from tests.cluster.support import ended, filled, ids, new_server, own_postgres, soon
from tests.postgres import Postgres
from tests.rpc.test_ingest import request
from tests.support import BIN, Server, record

FIRST_ENTRY = 8_192 + 24


def verify(store: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet-grpc"), "verify", "--store", store, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def decided(server: Server) -> Server:
    """The server, once there is something of everything in its ledger."""
    server.correct("c1")
    server.correct("c2")
    server.ingest(request(label="gold"))
    return server


def execute(database: str, statement: str) -> None:
    with connect(database) as db:
        db.execute(statement)


def test_a_sound_ledger_and_the_files_of_its_keeper_agree_beside_running_servers_and_after_them(
    database: str, tmp_path: Path
) -> None:
    keeper = filled(tmp_path / "keeper", database)
    other = new_server(tmp_path / "other", database).start()
    with ended(keeper, other):
        decided(other)
        soon(lambda: len(ids(keeper.approved)) == 3)
        for directory in ((), ("--data-dir", str(keeper.data))):
            found = verify(database, *directory)
            assert (found.returncode, found.stderr) == (0, "")
            assert "the ledger is sound" in found.stdout
        assert "the service is running" in found.stdout and "both files agree with it" in found.stdout
        assert keeper.stop() == 0
        with keeper.approved.open("a") as file:
            file.write(json.dumps(record("theirs", status="approved", corrected_response="so")) + "\n")
        found = verify(database, "--data-dir", str(keeper.data))
        assert found.returncode == 0 and "the service is stopped" in found.stdout
        assert "differs: sft_approved.jsonl: 1 new, by others: will be taken in (theirs)" in found.stdout


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE bodies SET raw = replace(encode(raw, 'escape'), 'sky', 'sea')::bytea", "is not what was stored"),
        ("DELETE FROM bodies WHERE key = 3", "has no line"),
        ("UPDATE records SET exported = 0 WHERE exported = 1", "is exported and should not be"),
        ("UPDATE counters SET n = n + 1 WHERE name = 'queued'", "the counter queued  says"),
        ("UPDATE facets SET n = n + 1 WHERE queued = 1", "the facet"),
        ("UPDATE records SET facet = facet + 1 WHERE queued = 1", "is not found by all filters"),
    ],
)
def test_what_somebody_changed_in_the_database_is_named_with_the_way_out(
    database: str, tmp_path: Path, statement: str, said: str
) -> None:
    keeper = filled(tmp_path / "keeper", database)
    with ended(keeper):
        decided(keeper)
        assert keeper.stop() == 0
    execute(database, statement)
    found = verify(database)
    assert found.returncode == 6, found.stderr
    assert said in found.stdout
    assert "DAMAGE: the way out: restore the database from its backup" in found.stdout


def test_indexes_are_checked_if_the_database_has_amcheck_and_else_it_says_so(
    database: str, postgres: Postgres, tmp_path: Path
) -> None:
    keeper = filled(tmp_path / "keeper", database)
    with ended(keeper):
        assert keeper.stop() == 0
    assert "not checked: the database's indexes: CREATE EXTENSION amcheck" in verify(database).stdout
    with connect(database) as db:
        if not db.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone():
            pytest.skip("this PostgreSQL has no amcheck")
        db.execute("CREATE EXTENSION amcheck")
    found = verify(database)
    assert found.returncode == 0 and "not checked" not in found.stdout


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    with own_postgres() as server:
        database = server.new_database()
        keeper = filled(tmp_path / "keeper", database)
        with ended(keeper):
            assert keeper.stop() == 0
        name = database.rpartition("/")[2]
        server.execute("CREATE EXTENSION amcheck", name)
        ((path,),) = server.execute("SELECT pg_relation_filepath('records_by_id')", name)
        server.execute("CHECKPOINT")
        server.kill()
        with (server.data / path).open("r+b") as index:
            # The places of the first two entries, in the first page behind the index's own.
            index.seek(FIRST_ENTRY)
            first, second = index.read(4), index.read(4)
            index.seek(FIRST_ENTRY)
            index.write(second + first)
        server.start()
        found = verify(database)
    assert found.returncode == 6, found.stderr
    assert "DAMAGE: ledger: the index records_by_id is damaged" in found.stdout


def test_what_cannot_be_found_out_is_said_in_one_line(database: str, postgres: Postgres, tmp_path: Path) -> None:
    keeper = filled(tmp_path / "keeper", database)
    with ended(keeper):
        assert keeper.stop() == 0
    (tmp_path / "foreign").mkdir()
    plain = [str(BIN / "avocet-grpc"), "verify", "--data-dir", str(keeper.data)]
    unkept = postgres.new_database()
    asked: dict[str, Any] = {
        "give its --store": subprocess.run(plain, capture_output=True, text=True, check=False, timeout=120),
        "nobody has kept the files": verify(unkept, "--data-dir", str(keeper.data)),
        "does not have the files of": verify(database, "--data-dir", str(tmp_path / "foreign")),
        "run: avocet-grpc migrate": verify(postgres.new_database("template0")),
        "must be postgres://": verify("postgres://[bad"),
        "cannot be asked": verify("postgres://nobody@127.0.0.1:1/none"),
    }
    for said, found in asked.items():
        assert found.returncode == 1 and found.stdout == ""
        assert said in found.stderr and found.stderr.count("\n") == 1, found.stderr
    missing = verify(database, "--data-dir", str(tmp_path / "missing"))
    assert missing.returncode == 2 and "does not exist" in missing.stderr
