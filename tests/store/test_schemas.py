"""The tables of a version of the ledger never change: a ledger that was made with it would lack what is new.

What an empty ledger of each version is made of is stored in `tests/store/data/`, with the steps of PostgreSQL's
migration. Who changes `store/sql/schema.py` has to raise the version of each engine, write its upgrade, and store the
new tables by running

    python -m tests.store.test_schemas
"""

from __future__ import annotations

import difflib

import pytest

from avocet_grpc.store.postgres import migrate
from avocet_grpc.store.postgres.session import POSTGRES
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sql.dialect import Dialect
from avocet_grpc.store.sqlite.session import SQLITE
from tests.support import ROOT

STORED = ROOT / "tests/store/data"
MIGRATIONS = ROOT / "avocet_grpc/store/postgres/migrations"


def sqlite_tables() -> str:
    """What makes an empty ledger of SQLite."""
    return _tables(SQLITE)


def postgres_tables() -> str:
    """What makes an empty ledger of PostgreSQL: the tables, and each step of the migration."""
    steps = sorted(MIGRATIONS.glob("*.sql"))
    return _tables(POSTGRES) + "".join(f"-- {step.name}\n{step.read_text()}" for step in steps)


def _tables(dialect: Dialect) -> str:
    """Return a statement a line."""
    return "".join(f"{' '.join(statement.split())};\n" for statement in schema.statements(dialect))


ENGINES = {
    f"sqlite_tables_{schema.VERSION}.sql": sqlite_tables,
    f"postgres_tables_{migrate.VERSION}.sql": postgres_tables,
}


@pytest.mark.parametrize("name", ENGINES)
def test_the_tables_of_a_version_never_change(name: str) -> None:
    path = STORED / name
    assert path.exists(), f"a new version: write its upgrade, and store {name} (python -m tests.store.test_schemas)"
    before, now = (text.splitlines() for text in (path.read_text(), ENGINES[name]()))
    changed = [*difflib.unified_diff(before, now, lineterm="", n=0)]
    assert not changed, (
        "ledgers that exist do not get this change: raise VERSION of store/sql/schema.py and of"
        " store/postgres/migrate.py, write both upgrades (docs/contributing.md), and store the new tables\n"
        + "\n".join(changed)
    )


if __name__ == "__main__":
    for name, made in ENGINES.items():
        (STORED / name).write_text(made())
