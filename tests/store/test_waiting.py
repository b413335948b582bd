"""How many changes a commit waits for: those of callers that write all the time, and nobody's for long."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from avocet_grpc.core.errors import Overloaded, StorageFailed
from avocet_grpc.store.sql import waiting
from avocet_grpc.store.sql.group import Group
from avocet_grpc.store.sql.waiting import CROWD, Waiting
from tests.support import PATIENCE_S, eventually

LONG_S = 10 * PATIENCE_S


def some(count: int) -> list[Group]:
    return [Group((lambda tx: None,), one=True) for _ in range(count)]


def put(queue: Waiting, groups: list[Group]) -> None:
    for group in groups:
        queue.put(group)


def test_a_commit_waits_for_the_many_callers_that_the_last_one_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GATHER_S", LONG_S)
    queue = Waiting(100)
    put(queue, some(CROWD))
    assert len(queue.take()[0]) == CROWD
    put(queue, came_meanwhile := some(1))
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(queue.take)
        eventually(lambda: queue.wanted == CROWD + 1)
        put(queue, again := some(CROWD))
        assert taken.result(PATIENCE_S) == (came_meanwhile + again, False)


def test_a_commit_waits_no_longer_than_its_time_for_callers_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GATHER_S", 0.01)
    queue = Waiting(100)
    put(queue, some(CROWD))
    queue.take()
    put(queue, few := some(2))
    assert queue.take() == (few, False)


def test_a_commit_waits_for_nobody_if_few_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GATHER_S", LONG_S)
    queue = Waiting(100)
    put(queue, some(CROWD - 2))
    queue.take()
    put(queue, one := some(1))
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(queue.take).result(PATIENCE_S) == (one, False)


def test_a_queue_that_closes_gives_what_waits_at_once_and_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "GATHER_S", LONG_S)
    queue = Waiting(100)
    put(queue, some(CROWD))
    queue.take()
    put(queue, few := some(2))
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(queue.take)
        queue.close()
        assert taken.result(PATIENCE_S) == (few, True)
    assert isinstance(queue.put(some(1)[0]).exception(), StorageFailed)
    assert queue.take() == ([], True)


def test_a_change_beyond_those_that_may_wait_is_refused() -> None:
    queue = Waiting(2)
    put(queue, first := some(2))
    assert isinstance(queue.put(some(1)[0]).exception(), Overloaded)
    assert queue.take() == (first, False)
