"""Values that a database of its own would order or number in another way: texts of any locale, keys of 64 bits."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg")

import psycopg

from avocet_grpc.core import review
from avocet_grpc.core.history import HistoryQuery, scan
from avocet_grpc.core.model import REVIEW_ORDERS, Action, CandidateFilter, Decision, Order
from avocet_grpc.core.record import load, parse
from avocet_grpc.store.postgres.connect import connect
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.migrate import migrate
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.cluster.support import own_postgres
from tests.ledger_suite import correct, encode, exported, import_candidates, undo
from tests.mirror_port_suite.support import C, Port
from tests.team_suite.support import widest

ALL = CandidateFilter()
FAR = 2**40
WORDS = ["b", "A", "a", "B", "é", "z", "_a", "Z", "a b", "aB", "ab", "É"]
"""A locale's order is another one than that of their code points."""
SYSTEM_LOCALE = Path("/usr/lib/locale/C.utf8")
NOT_BY_CODE_POINTS = (
    "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
    " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped"
    """ AND a.attcollation NOT IN (0, 'pg_catalog."C"'::regcollation)"""
)


def queued(ledger: Any, order: Order) -> list[Any]:
    """The ids of the queue, page by page."""
    ids, after = list[Any](), None
    while page := ledger.read(lambda reader, after=after: reader.queue(ALL, order, after, 0, 3)):
        ids += [json.loads(item.candidate.raw)["id"] for item in page]
        after = page[-1].position
    return ids


def test_every_text_is_ordered_by_code_points_whatever_the_locale_of_the_database(database: str) -> None:
    with connect(database) as db:
        found = db.execute(NOT_BY_CODE_POINTS).fetchall()
        assert found == []
        db.execute("CREATE TABLE odd (word text)")
        assert db.execute(NOT_BY_CODE_POINTS).fetchall() == [("odd", "word")]


def test_pages_are_in_the_order_of_code_points(database: str) -> None:
    ledger = PostgresLedger(database, encode, warns=False)
    try:
        for word in WORDS:
            record = {"id": word, "status": "needs_review", "timestamp": word, "model_name": word}
            Port(ledger).take_in(C, parse(json.dumps(record).encode()))
        assert queued(ledger, Order.TIMESTAMP) == sorted(WORDS)
        assert queued(ledger, Order.TIMESTAMP_DESC) == sorted(WORDS, reverse=True)
        assert ledger.read(lambda reader: reader.stats(ALL)).by_model == dict.fromkeys(WORDS, 1)
    finally:
        ledger.close()


def test_the_longest_values_of_every_index_are_kept(database: str) -> None:
    """Characters of four bytes that cannot be compressed: an index of PostgreSQL holds 2,704 bytes of them."""
    id, request_id, principal, long = widest("id", 512), widest("request", 128), "p" * 128, widest("value", 5_000)
    names = ("status", "timestamp", "reviewed_at", "task_type", "model_name", "source", "benchmark_run_id", "label")
    ledger = PostgresLedger(database, encode, warns=False)
    try:
        for other in ("a", "b"):
            record = {name: long + other for name in (*names, "task_id", "failure_category")}
            Port(ledger).take_in(C, parse(json.dumps(record | {"id": f"{id[:-1]}{other}"}).encode()))
        record = {name: long for name in names[1:]}
        Port(ledger).take_in(C, parse(json.dumps(record | {"id": id, "status": "needs_review"}).encode()))
        decision = Decision(id, Action.CORRECT, "better", reviewer=long, request_id=request_id, principal=principal)
        first = ledger.write(lambda tx: review.submit(tx, decision)).result()
        assert ledger.write(lambda tx: review.submit(tx, decision)).result() == first
        assert exported(ledger) == [id]
        undo(ledger, id)
        assert [entry.id for entry in ledger.read(lambda r: r.history(id))] == [id] * 3
        assert ledger.read(lambda r: r.known_run_ids([long, long + "a", long + "c"])) == {long, long + "a"}
        assert len(ledger.read(lambda r: r.stats(ALL)).by_model) == 3
    finally:
        ledger.close()


def told(ledger: Any) -> dict[str, Any]:
    """All that has an order in what callers are told, after the same changes on each engine."""
    for word in WORDS:
        record = {"id": f"{word}!", "status": "needs_review", "timestamp": word, "model_name": word, "source": word}
        Port(ledger).take_in(C, parse(json.dumps(record | {"task_type": word, "label": word}).encode()))
    for word in WORDS[::3]:
        correct(ledger, f"{word}!", reviewer=word)

    def read(reader: Any) -> dict[str, Any]:
        stats = reader.stats(ALL)
        found: dict[str, Any] = {"stats": (stats.by_model, stats.by_source, stats.by_task_type, stats.by_status)}
        for order in Order:
            looked = reader.listing.look((), ALL, order, None, 99, 500)
            found[f"list {order}"] = [load(item.candidate.raw)["id"] for item in looked.found]
        for word in WORDS:
            filter = CandidateFilter(model_names=(word,))
            items = reader.queue(filter, Order.TIMESTAMP, None, 0, 9)
            found[f"filter {word}"] = [load(item.candidate.raw)["id"] for item in items], reader.queue_total(filter)
            query = HistoryQuery(actors=(word,))
            found[f"history {word}"] = [one.entry.id for one in scan(reader, query) if one.entry is not None]
        return found

    queues = {order: queued(ledger, order) for order in Order if order not in REVIEW_ORDERS}
    found: dict[str, Any] = ledger.read(read)
    return found | queues | {"exported": exported(ledger)}


@pytest.fixture(params=["icu", "libc"])
def in_english(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a database that sorts as American English does, by a locale of its own or of the system."""
    with own_postgres() as own:
        clause = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        if request.param == "libc":
            clause = "LOCALE 'en_US.UTF-8'"
            own.kill()
            monkeypatch.setenv("LOCPATH", str(compiled_locales(own.directory)))
            own.start()
        try:
            own.execute(f"CREATE DATABASE english TEMPLATE template0 ENCODING 'UTF8' {clause}")
        except psycopg.errors.FeatureNotSupported as error:
            pytest.skip(str(error))
        yield own.url("english")


def compiled_locales(directory: Path) -> Path:
    """A directory with the locale that the server has, and an English one, which few machines have."""
    english = ["localedef", "-i", "en_US", "-f", "UTF-8", "--no-archive", str(directory / "en_US.UTF-8")]
    if shutil.which("localedef") is None or not SYSTEM_LOCALE.exists():
        pytest.skip("localedef or C.UTF-8 is missing, so no locale can be made")
    if subprocess.run(english, capture_output=True, check=False).returncode:
        pytest.skip("localedef has no source of en_US: apt-get install locales")
    shutil.copytree(SYSTEM_LOCALE, directory / SYSTEM_LOCALE.name)
    return directory


def test_a_database_that_sorts_by_a_language_gives_the_order_that_sqlite_gives(in_english: str) -> None:
    with connect(in_english) as db:
        # Neither is so by their code points.
        assert db.execute("SELECT 'a' < 'B', 'z' > 'é'").fetchone() == (True, True)
        migrate(db)
    ledger, reference = PostgresLedger(in_english, encode, warns=False), SqliteLedger(None, encode)
    try:
        assert told(ledger) == told(reference)
    finally:
        ledger.close()
        reference.close()


def test_keys_and_revisions_beyond_32_bits_are_kept(database: str) -> None:
    with connect(database) as db:
        db.execute("UPDATE head SET next_key = %s", [FAR])
    ledger = PostgresLedger(database, encode, warns=False)
    try:
        import_candidates(ledger, 8)
        for n in range(4):
            assert correct(ledger, f"c{n}").revision > 2**32
        undo(ledger, "c3")
        assert exported(ledger) == ["c0", "c1", "c2"]
        assert sorted(queued(ledger, Order.FILE)) == ["c3", "c4", "c5", "c6", "c7"]
    finally:
        ledger.close()
    with connect(database) as db:
        for table in ("records", "bodies", "examples"):
            assert db.execute(f"SELECT min(key) >= {FAR} FROM {table}".encode()).fetchone() == (True,), table
