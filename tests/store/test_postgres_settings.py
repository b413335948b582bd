"""Settings of the database on which the service's promises rest: which are refused, which are warned of, and how."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.settings import UnsafeDatabase, refuse_if_unsafe
from tests.cluster.support import ended, new_server, own_postgres
from tests.ledger_suite import correct, encode, import_candidates
from tests.postgres import Postgres
from tests.support import BIN, eventually

PASSWORD = "a: password with \\ in it"


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_database_that_would_lose_changes_is_refused(name: str) -> None:
    with own_postgres() as own:
        url = own.new_database()
        own.execute(f"ALTER SYSTEM SET {name} = off")
        own.execute("SELECT pg_reload_conf()")
        eventually(lambda: own.execute(f"SHOW {name}") == [("off",)])
        with pytest.raises(UnsafeDatabase, match=name):
            PostgresLedger(url, encode)


def test_a_database_without_a_standby_is_warned_of(database: str) -> None:
    with connect(database) as db:
        assert "one machine" in str(refuse_if_unsafe(db))
        db.execute("SET synchronous_commit = off")
        with pytest.raises(UnsafeDatabase, match="synchronous_commit"):
            refuse_if_unsafe(db)


def test_commits_that_wait_for_no_standby_are_warned_of_although_one_is_named(database: str) -> None:
    with connect(database) as db:
        db.execute("SET synchronous_commit = local")
        assert "no synchronous standby" in str(refuse_if_unsafe(db))
    with own_postgres() as own:
        url = own.new_database()
        own.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        own.execute("ALTER SYSTEM SET synchronous_commit = 'local'")
        own.execute("SELECT pg_reload_conf()")
        eventually(lambda: own.execute("SHOW synchronous_commit") == [("local",)])
        with connect(url) as db:
            warning = str(refuse_if_unsafe(db))
        assert "synchronous_commit = local" in warning and "has no synchronous standby" not in warning
        # Nothing waits for the standby that is not there.
        ledger = PostgresLedger(url, encode, warns=False)
        import_candidates(ledger, 1)
        assert correct(ledger, "c0")
        ledger.close()


@pytest.fixture
def ascii_database(postgres: Postgres) -> Iterator[str]:
    postgres.execute("CREATE DATABASE in_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    url = postgres.url("in_ascii")
    yield url
    postgres.drop(url)


def migrated(url: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet-grpc"), "migrate", "--store", url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_a_database_of_another_encoding_is_refused_before_anything_is_made_in_it(
    ascii_database: str, tmp_path: Path
) -> None:
    refused = migrated(ascii_database)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "encoding is SQL_ASCII; make one with ENCODING 'UTF8'" in refused.stderr
    with connect(ascii_database) as db:
        assert db.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchall() == []
    with pytest.raises(RuntimeError, match="encoding is SQL_ASCII; make one with ENCODING 'UTF8'"):
        new_server(tmp_path, ascii_database).start()


@pytest.fixture
def asking() -> Iterator[tuple[Postgres, str]]:
    """A server that asks the owner of its empty database for a password; the address has none."""
    with own_postgres() as own:
        own.execute(f"CREATE ROLE owner LOGIN PASSWORD '{PASSWORD}'")
        own.execute("CREATE DATABASE asking OWNER owner TEMPLATE template0")
        rules = own.data / "pg_hba.conf"
        rules.write_text(f"host all owner 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        own.execute("SELECT pg_reload_conf()")
        yield own, own.url("asking").replace("avocet@", "owner@")


def test_a_password_is_read_from_a_file_and_is_shown_nowhere(asking: tuple[Postgres, str], tmp_path: Path) -> None:
    own, url = asking
    passwords = tmp_path / "passwords"
    passwords.write_text(f"127.0.0.1:{own.port}:*:owner:wrong\n")
    passwords.chmod(0o600)
    for environment in ({}, {"PGPASSFILE": str(passwords)}):
        refused = migrated(url, **environment)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
        assert "password" in refused.stderr and "cannot use the database" in refused.stderr
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    passwords.write_text(f"127.0.0.1:{own.port}:asking:owner:{escaped}\n")
    assert "steps run" in migrated(url, PGPASSFILE=str(passwords)).stdout
    server = new_server(tmp_path, url, keeps=True)
    with pytest.raises(RuntimeError, match="password"):
        server.start()
    server.environment["PGPASSFILE"] = str(passwords)
    with ended(server):
        server.candidates.write_text('{"id": "c0", "status": "needs_review"}\n')
        server.start()
        assert server.correct("c0").revision
        assert PASSWORD not in server.log
        assert server.stop() == 0
