"""A dump is restored into the same database server: the ledger goes back, and nothing that was given comes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.core.errors import RevisionExpired
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.fill import fill
from avocet_grpc.store.postgres.migrate import migrate
from avocet_grpc.store.postgres.writer import Writer
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import correct, encode, exported, import_candidates, newest
from tests.postgres import Postgres
from tests.postgres_backups import WAYS, Backup, soon


@pytest.fixture
def ledger(database: str) -> Iterator[PostgresLedger]:
    ledger = PostgresLedger(database, encode, warns=False)
    yield ledger
    ledger.close()


def incarnation(ledger: PostgresLedger) -> str:
    with ledger.mirror().view() as view:
        return view.head().incarnation


@pytest.mark.parametrize("way", WAYS)
def test_a_restored_dump_ends_the_incarnation_before_anything_is_changed(
    ledger: PostgresLedger, database: str, postgres: Postgres, way: type[Backup], tmp_path: Path
) -> None:
    examples = ExportLedger(ledger, DataDirectory(tmp_path).examples)
    import_candidates(ledger, 12)
    for n in range(3):
        correct(ledger, f"c{n}")
    kept, before = newest(ledger), incarnation(ledger)
    backup = way(postgres, database)
    for n in range(3, 9):
        correct(ledger, f"c{n}")
    lost = newest(ledger)
    assert exported(examples) == [f"c{n}" for n in range(9)]
    backup.restore()
    soon(lambda: incarnation(ledger) != before and newest(ledger) > lost)
    assert exported(examples) == ["c0", "c1", "c2"]
    correct(ledger, "c10")
    assert exported(examples) == ["c0", "c1", "c2", "c10"]
    assert exported(examples, since_revision=kept) == ["c10"]
    for revision in (kept + 1, lost):
        with pytest.raises(RevisionExpired):
            exported(examples, since_revision=revision)
    examples.stop()


@pytest.mark.parametrize("way", WAYS)
def test_the_first_change_after_a_restore_has_a_new_revision_although_nobody_has_noticed_it(
    ledger: PostgresLedger, database: str, postgres: Postgres, way: type[Backup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Writer, "commit_nothing", lambda self: None)
    import_candidates(ledger, 12)
    for n in range(6):
        correct(ledger, f"c{n}")
    backup = way(postgres, database)
    lost = correct(ledger, "c6").revision
    backup.restore()
    assert soon(lambda: correct(ledger, "c7")).revision > lost
    following = correct(ledger, "c8").revision
    assert following == newest(ledger)
    restarted = PostgresLedger(database, encode, warns=False)
    assert correct(restarted, "c9").revision == following + 1
    restarted.close()


@pytest.mark.parametrize("is_copy", [False, True], ids=["new", "copied"])
def test_a_dump_of_a_ledger_that_no_server_has_changed_is_noticed_too(
    postgres: Postgres, is_copy: bool, tmp_path: Path
) -> None:
    url = postgres.new_database("template0")
    with connect(url) as db:
        migrate(db)
        if is_copy:
            source = SqliteLedger(DataDirectory(tmp_path), encode)
            import_candidates(source, 1)
            with source.session() as session:
                fill(db, session, lambda *_: None)
            source.close()
    backup = Backup(postgres, url)
    ledger = PostgresLedger(url, encode, warns=False)
    try:
        begun = newest(ledger)
        import_candidates(ledger, 3)
        lost = newest(ledger)
        assert lost == begun + 1, "nothing was restored yet"
        backup.restore()
        soon(lambda: newest(ledger) > lost)
    finally:
        ledger.close()
        postgres.drop(url)


def test_a_dump_of_a_server_that_noted_less_is_noticed(ledger: PostgresLedger, database: str) -> None:
    import_candidates(ledger, 2)
    before = newest(ledger)
    with connect(database) as db:
        db.execute("DELETE FROM meta WHERE name IN ('database', 'head_file')")
    assert correct(ledger, "c0").revision > before + 1_000_000
    assert correct(ledger, "c1").revision == newest(ledger)


def test_tables_that_are_written_anew_cost_an_incarnation_and_no_revision_that_was_given(
    ledger: PostgresLedger, database: str, postgres: Postgres
) -> None:
    import_candidates(ledger, 2)
    correct(ledger, "c0")
    before, given = incarnation(ledger), newest(ledger)
    postgres.execute("VACUUM FULL", database.rpartition("/")[2])
    soon(lambda: incarnation(ledger) != before)
    assert correct(ledger, "c1").revision == newest(ledger) > given
    assert exported(ledger, since_revision=given) == ["c1"]
    assert exported(ledger, since_revision=given - 1) == ["c0", "c1"]
