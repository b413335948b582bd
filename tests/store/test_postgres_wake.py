"""How a server notices what another one commits: by notifications, and without them by looking."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction
from avocet_grpc.store.postgres import wake
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.wake import Wake
from tests.ledger_suite import encode
from tests.postgres import Postgres
from tests.support import eventually

LISTENERS = "FROM pg_stat_activity WHERE application_name = 'avocet-grpc listener' AND datname = '{}'"
WITHIN = 60.0


class Pair:
    """Two ledgers over one database; `rung` is set once `other` has noticed a commit of `one`."""

    def __init__(self, url: str, postgres: Postgres) -> None:
        self._postgres, self._name = postgres, url.rpartition("/")[2]
        self.one, self.other = PostgresLedger(url, encode), PostgresLedger(url, encode)
        self.rung = threading.Event()
        self.other.on_commit(self.rung.set)
        self._count = 0

    def change(self) -> None:
        self._count += 1
        correction = Correction("m", "qa", "p", "r", f"text {self._count}")
        self.one.write(lambda tx: ingest.ingest(tx, correction)).result()

    def notices(self) -> bool:
        """Whether `other` notices a change of `one`."""
        self.rung.clear()
        self.change()
        return self.rung.wait(WITHIN)

    def wait_for_listeners(self) -> None:
        eventually(lambda: self.listeners() == 2, within=WITHIN)

    def listeners(self) -> int:
        """How many connections have said LISTEN."""
        heard = f"SELECT count(*) {LISTENERS.format(self._name)} AND state = 'idle' AND query LIKE '%LISTEN%'"
        return int(self._postgres.execute(heard)[0][0])

    def end_listeners(self) -> None:
        self._postgres.execute(f"SELECT pg_terminate_backend(pid) {LISTENERS.format(self._name)}")

    def close(self) -> None:
        self.one.close()
        self.other.close()


@pytest.fixture
def pair(database: str, postgres: Postgres) -> Iterator[Pair]:
    pair = Pair(database, postgres)
    yield pair
    pair.close()


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wake, "_has_grown", lambda _: False)


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "LISTEN", "SET application_name = 'avocet-grpc listener'")


def test_a_notification_alone_wakes_who_follows(nobody_looks: None, pair: Pair) -> None:
    pair.wait_for_listeners()
    assert all(pair.notices() for _ in range(20))


def test_a_server_is_not_woken_by_the_notifications_of_its_own_commits(nobody_looks: None, pair: Pair) -> None:
    pair.wait_for_listeners()
    rings: list[int] = []
    pair.one.on_commit(lambda: rings.append(1))
    for _ in range(20):
        assert pair.notices()
    assert len(rings) == 20, "one for each commit, which its own writer told it of"


def test_a_change_is_noticed_without_any_notification(nobody_listens: None, pair: Pair) -> None:
    assert all(pair.notices() for _ in range(20))


def test_a_change_from_before_the_first_look_is_noticed() -> None:
    """Whoever follows may have read the ledger before it was made."""
    rings: list[int] = []
    late = Wake(
        "postgresql://127.0.0.1:1/none", "late", lambda _: wake.Seen(5, has_moved=False), lambda: rings.append(1)
    )
    try:
        eventually(lambda: rings == [1], within=WITHIN)
    finally:
        late.close()


def test_a_change_is_noticed_while_the_connection_of_the_notifications_is_cut(pair: Pair) -> None:
    for _ in range(10):
        pair.wait_for_listeners()
        pair.end_listeners()
        assert pair.notices()


def test_the_head_is_looked_at_seldom_while_notifications_come_and_often_if_they_stop(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = 100_000.0
    monkeypatch.setattr(wake, "LISTENING_S", never)
    pair.wait_for_listeners()
    looks: list[int] = []
    look = Wake._has_grown

    def counted(self: Any) -> bool:
        looks.append(1)
        return look(self)

    monkeypatch.setattr(Wake, "_has_grown", counted)

    def has_stopped_looking() -> bool:
        assert pair.notices()
        before = len(looks)
        return not threading.Event().wait(4 * wake.EVERY_S) and len(looks) == before

    eventually(has_stopped_looking, within=WITHIN)
    pair.end_listeners()
    before = len(looks)
    eventually(lambda: len(looks) > before + 2, within=WITHIN)
    assert pair.notices()
