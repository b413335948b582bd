"""Two servers without files over one PostgreSQL database."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.postgres import Postgres
from tests.rpc.test_ingest import request
from tests.support import BIN, SECRET, Server

BEARER = (("authorization", f"Bearer {SECRET}"),)


def migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / "avocet-grpc", "migrate", "--store", url], capture_output=True, text=True, check=False)


@pytest.fixture
def two(database: str, tmp_path: Path) -> Iterator[list[Server]]:
    servers = [Server(tmp_path / name) for name in ("one", "two")]
    for server in servers:
        server.environment["AVOCET_STORE"] = database
        server.has_files = False
        server.start()
    yield servers
    for server in servers:
        server.kill()


def test_what_one_server_acknowledged_the_other_serves_and_refuses_to_take_twice(two: list[Server]) -> None:
    one, other = two
    sent = request(request_id="same")
    first = one.stub.Ingest(sent, metadata=BEARER)
    assert other.stub.Ingest(sent, metadata=BEARER).id == first.id
    stats = [server.stub.Stats(pb.StatsRequest()) for server in two]
    assert stats[0] == stats[1] and stats[0].total == 1
    assert one.stub.GetVersion(pb.GetVersionRequest()).engine == "postgresql"


def test_a_watch_at_one_server_gets_each_change_at_the_other_also_while_its_notifications_are_cut_off(
    two: list[Server], postgres: Postgres, database: str
) -> None:
    listeners = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE application_name = 'avocet-grpc listener' AND datname = '{database.rpartition('/')[2]}'"
    )
    one, other = two
    watch = other.stub.Watch(pb.WatchRequest(since_revision=other.stats().revision), timeout=120)
    for n in range(20):
        if n >= 10:
            postgres.execute(listeners)
        id = one.ingest(request(prompt=f"p{n}")).id
        changes = next(answer.changes for answer in watch if answer.changes)
        assert [change.id for change in changes] == [id]
    watch.cancel()


def test_a_server_without_files_stops_cleanly_and_leaves_none(two: list[Server]) -> None:
    for server in two:
        assert server.stop() == 0
        assert not server.candidates.exists()


def test_serve_refuses_a_database_without_tables_and_says_what_to_run(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.new_database("template0")
    try:
        server = Server(tmp_path)
        server.environment["AVOCET_STORE"] = url
        with pytest.raises(RuntimeError, match="run: avocet-grpc migrate --store"):
            server.start()
        assert migrate(url).stdout == "steps run: 1, 2\n"
        assert migrate(url).stdout == "the tables are up to date\n"
        server.start()
        server.stub.Stats(pb.StatsRequest())
        server.kill()
    finally:
        postgres.drop(url)


def test_a_wrong_store_is_refused_without_its_password() -> None:
    found = migrate("postgres://a:hunter2@127.0.0.1:1/db")
    assert found.returncode == 1 and "cannot use the database" in found.stderr and "hunter2" not in found.stderr
