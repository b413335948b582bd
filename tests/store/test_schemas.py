"""The tables of a version of the ledger never change: a ledger that was made with it would lack what is new.

What an empty ledger of each version is made of is stored in `tests/store/data/`. Who changes `store/sql/schema.py` has
to raise the version of each engine, write its upgrade, and store the new tables by running

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
ENGINES = {
    f"sqlite_tables_{schema.VERSION}.sql": SQLITE,
    f"postgres_tables_{migrate.VERSION}.sql": POSTGRES,
}


def tables(dialect: Dialect) -> str:
    """What makes an empty ledger, a statement a line."""
    return "".join(f"{' '.join(statement.split())};\n" for statement in schema.statements(dialect))


@pytest.mark.parametrize("name", ENGINES)
def test_the_tables_of_a_version_never_change(name: str) -> None:
    path = STORED / name
    assert path.exists(), f"a new version: write its upgrade, and store {name} (python -m tests.store.test_schemas)"
    before, now = (text.splitlines() for text in (path.read_text(), tables(ENGINES[name])))
    changed = [*difflib.unified_diff(before, now, lineterm="", n=0)]
    assert not changed, (
        "ledgers that exist do not get this change: raise VERSION of store/sql/schema.py and of"
        " store/postgres/migrate.py, write both upgrades (docs/contributing.md), and store the new tables\n"
        + "\n".join(changed)
    )


if __name__ == "__main__":
    for name, dialect in ENGINES.items():
        (STORED / name).write_text(tables(dialect))
