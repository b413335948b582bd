"""What measures the service, or works in its background, may fail: calls are answered and work goes on."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from avocet_grpc.allocator import Allocator
from avocet_grpc.core.errors import StorageFull
from avocet_grpc.edge.call_context import CallInfo
from avocet_grpc.edge.interceptors.log import CallLog
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance import keeping
from avocet_grpc.maintenance.keeping import Keeping
from avocet_grpc.processes import memory, mirror_process, worker
from avocet_grpc.processes.messages import Alive, Measure, Ping, Stop
from avocet_grpc.processes.mirror_process import Follower
from avocet_grpc.store.examples import ledger as export_ledger
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.examples.store import ExampleStore
from avocet_grpc.store.postgres import wake
from avocet_grpc.store.postgres.keeper import Renewal
from avocet_grpc.store.postgres.wake import Wake
from avocet_grpc.store.sqlite import writer
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.learning import Learning
from avocet_grpc.telemetry import guard
from tests.ledger_suite import correct, encode, import_candidates
from tests.support import ROOT, eventually


def test_a_meter_that_fails_changes_no_answer() -> None:
    before = guard.failures["meter"]

    class Meter:
        def call_began(self, method: str) -> None:
            raise RuntimeError

        def call_ended(self, method: str, code: str, seconds: float) -> None:
            raise RuntimeError

    log, info = CallLog(Meter()), CallInfo("/s/M", (), "id")
    log.ended("/s/M", "OK", info, log.began("/s/M"))
    assert guard.failures["meter"] - before == 2


def test_a_background_task_that_fails_is_counted_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RETRY_S", 0)
    rounds = 0

    async def look() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise asyncio.CancelledError
        raise RecursionError("of a parser")

    before = guard.failures["keeper of the test"]
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(guard.keep("keeper of the test", look))
    assert (rounds, guard.failures["keeper of the test"] - before) == (3, 2)


def bare_follower() -> Any:
    """The mirror's process without anything of it: a test gives it what it needs."""
    follower: Any = Follower.__new__(Follower)
    follower._ending = threading.Event()
    return follower


@pytest.mark.parametrize(("error", "is_ours"), [(RuntimeError(), True), (StorageFull("the disk is full"), False)])
def test_the_look_at_writes_is_repeated_after_a_failure_and_one_of_our_own_is_logged(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_ours: bool
) -> None:
    monkeypatch.setattr(worker, "REFRESH_S", 0)
    before, told = guard.failures["writes"], list[bool]()

    class Ledger:
        def write(self, work: Any) -> Future[Any]:
            future = Future[Any]()
            future.set_exception(error)
            return future

    async def look() -> bool:
        full = asyncio.Event()
        full.set()
        events, health = SimpleNamespace(storage_full=full), SimpleNamespace(set_writes=told.append)
        settings = SimpleNamespace(is_shared=True)
        await worker._look_at_writes(events, Ledger(), health, settings)  # type: ignore[arg-type]
        return full.is_set()

    assert asyncio.run(look()) and told == [False]
    assert guard.failures["writes"] - before == is_ours


def test_the_index_of_texts_goes_on_after_a_failure_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = guard.failures["search"], iter((KeyError("x"), KeyError("x"), None))
    follower = bare_follower()

    class Failing:
        def __init__(self, *_: object) -> None: ...

        def step(self) -> bool:
            if (error := next(steps)) is not None:
                raise error
            follower._ending.set()
            return False

        def close(self) -> None: ...

    monkeypatch.setattr(mirror_process, "SearchFollower", Failing)
    monkeypatch.setattr(mirror_process, "SEARCH_AGAIN_S", 0.0)
    follower._ledger = type("Ledger", (), {"mirror": lambda self: None})()
    follower._index_texts(tmp_path / "search.db")
    assert next(steps, "all") == "all"
    assert guard.failures["search"] == before + 2


def test_the_mirror_obeys_also_if_its_metrics_cannot_be_read() -> None:
    orders, reports = iter((Measure(ledger=True), Ping(), Stop())), list[object]()

    class Supervisor:
        def next_order(self) -> object:
            return next(orders)

        def report(self, report: object) -> None:
            reports.append(report)

    def measure() -> None:
        raise RuntimeError

    follower = bare_follower()
    follower._parent, follower._measure = Supervisor(), measure
    follower._bell = type("Bell", (), {"ring": lambda self: None})()
    follower._take_orders()
    assert reports == [Alive()] and follower._ending.is_set()


def test_learning_that_fails_is_tried_again_much_later() -> None:
    before, views = guard.failures["learning"], list[None]()

    @contextlib.contextmanager
    def view() -> Iterator[Any]:
        views.append(None)
        raise KeyError("x")
        yield

    learning = Learning(view, lambda row: None)
    for key in (1_000_000, 1_000_001):
        learning.committed(key)
        assert learning._thread is not None
        learning._thread.join()
    assert len(views) == 1
    assert guard.failures["learning"] == before + 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is logged meanwhile; nothing was said before."""
    monkeypatch.setattr(guard, "_said", {})
    with capture_logs() as events:
        yield events


def said(told: list[Any], what: str) -> list[str]:
    return [event["error"] for event in told if event["event"] == "failed in the background" and event["what"] == what]


def test_other_servers_commits_are_noticed_after_failures_of_the_look_and_of_whoever_is_told(
    monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    monkeypatch.setattr(wake, "EVERY_S", 0.001)
    before, looks, rings = guard.failures["waking"], count(1), list[int]()

    def read(_: object) -> wake.Seen:
        look = next(looks)
        if look in (1, 2):
            raise KeyError("x")
        return wake.Seen(look, has_moved=False)

    def ring() -> None:
        rings.append(1)
        if len(rings) == 1:
            raise RuntimeError

    waking = Wake("not an address", "own", read, ring)
    eventually(lambda: len(rings) > 3 or None, within=60)
    waking.close()
    assert guard.failures["waking"] == before + 3
    assert said(told, "waking") == ["KeyError", "RuntimeError"]


def test_the_lease_is_renewed_after_a_failure_of_any_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    before, renewals = guard.failures["lease"], list[int]()

    class Failing:
        def __init__(self, *_: object) -> None: ...

        def renew(self, epoch: int) -> Renewal:
            renewals.append(epoch)
            if len(renewals) < 3:
                raise KeyError("x")
            return Renewal.RELEASE_WANTED

        def release(self, epoch: int) -> None: ...

        def close(self) -> None: ...

    for name, value in (("Lease", Failing), ("RENEW_EVERY_S", 0.001), ("RETRY_S", 0.001)):
        monkeypatch.setattr(keeping, name, value)
    kept: Any = Keeping(None, "", "", "", tmp_path)  # type: ignore[arg-type]
    kept._is_lost = False
    eventually(lambda: kept.release_wanted or None, within=60)
    kept.close()
    assert guard.failures["lease"] == before + 2
    assert said(told, "lease") == ["KeyError"]


def test_memory_is_given_back_after_a_failure_of_any_kind(monkeypatch: pytest.MonkeyPatch, told: list[Any]) -> None:
    before, looks = guard.failures["memory"], list[int]()

    def give_back(_: object) -> None:
        looks.append(1)
        if len(looks) == 4:
            raise SystemExit
        raise OSError

    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(Allocator, "give_back_free_blocks", give_back)
    with pytest.raises(SystemExit):
        memory._look()
    assert guard.failures["memory"] == before + 3
    assert said(told, "memory") == ["OSError"]


KEPT_THREADS = {
    # Tested here and in test_logs.py, test_metrics.py, tests/store: each goes on after a failure.
    "ledger-checkpoint": "copies once; the next one is begun by a commit",
    "ledger-learning": "trains once, and is begun again much later",
    "ledger-wake": "guards each look",
    "ledger-writer": "refuses what failed, and guards the rest",
    "examples": "guards each look",
    "lease": "guards each renewal",
    "log-writer": "counts what it cannot write",
    "memory": "guards each look",
    "metrics": "the library answers 500",
    "orders": "guards each measure",
    "search": "makes its index again",
}
AWAITED_TASKS = {
    # A call waits for them and gets what they raise; the newest changes guard each look by themselves.
    "edge/change_hub.py": ["self._run()"],
    "edge/exporting.py": ["hold.make(MAX_BYTES, make)"],
    "edge/ingesting.py": ["_read_all(backend, requests, queued)", "_stored(backend, items, request.ByteSize())"],
    "edge/watching.py": ["self._make(query, found, most_bytes)"],
}


def calls_of(names: set[str]) -> Iterator[tuple[str, ast.Call]]:
    """Each call of the service's code to one of these names, with its module."""
    for path in sorted((ROOT / "avocet_grpc").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in names:
                yield str(path.relative_to(ROOT / "avocet_grpc")), node


def test_every_background_task_is_kept_going_or_awaited_by_its_call() -> None:
    awaited: dict[str, list[str]] = {}
    for module, call in calls_of({"create_task", "ensure_future", "TaskGroup", "run_coroutine_threadsafe"}):
        if not ast.unparse(call.args[0] if call.args else call).startswith("keep("):
            awaited.setdefault(module, []).append(ast.unparse(call.args[0]) if call.args else "")
    assert awaited == AWAITED_TASKS


def test_every_thread_is_one_whose_failures_are_known_to_end_nothing() -> None:
    named = list[str]()
    for module, call in calls_of({"Thread", "Timer", "start_new_thread"}):
        names = [ast.literal_eval(one.value) for one in call.keywords if one.arg == "name"]
        assert names, f"{module}: a thread without a name"
        named += names
    assert set(named) == set(KEPT_THREADS)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that are started."""
    names, start = list[str](), threading.Thread.start

    def begin(self: threading.Thread) -> None:
        start(self)
        names.append(self.name)

    monkeypatch.setattr(threading.Thread, "start", begin)
    return names


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch, started: list[str]) -> list[str]:
    """Threads of these names cannot be started, as at a limit of the system."""
    refused, start = list[str](), threading.Thread.start

    def begin(self: threading.Thread) -> None:
        if self.name in refused:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", begin)
    return refused


def test_commits_go_on_while_no_thread_can_be_started_to_copy_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_threads: list[str], started: list[str]
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_CHANGES", 10)
    monkeypatch.setattr(writer, "PAUSE_S", 0.0)
    before = guard.failures["checkpoint"]
    no_threads.append("ledger-checkpoint")
    with contextlib.closing(SqliteLedger(DataDirectory(tmp_path), encode)) as ledger:
        import_candidates(ledger, 40)
        for number in range(4):
            correct(ledger, f"c{number}")
        assert guard.failures["checkpoint"] > before + 1
        no_threads.clear()

        def begins_again() -> bool:
            ledger.write(lambda tx: tx.new_revision()).result(60)
            return "ledger-checkpoint" in started

        eventually(begins_again)


def test_learning_whose_thread_cannot_be_started_ends_well_and_is_begun_later(no_threads: list[str]) -> None:
    views = list[None]()

    @contextlib.contextmanager
    def view() -> Iterator[Any]:
        views.append(None)
        raise KeyError("x")
        yield

    no_threads.append("ledger-learning")
    learning = Learning(view, lambda row: None)
    with pytest.raises(RuntimeError):
        learning.committed(1_000_000)
    learning.close()
    again = Learning(view, lambda row: None)
    with pytest.raises(RuntimeError):
        again.committed(1_000_000)
    no_threads.clear()
    again.committed(1_000_000)
    again.close()
    assert len(views) == 1


def test_exports_files_are_brought_level_after_a_look_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    before, real, looks = guard.failures["examples"], ExampleStore.follow, list[int]()

    def follow(self: ExampleStore, reader: Any) -> None:
        looks.append(1)
        if len(looks) < 3:
            raise KeyError("x")
        real(self, reader)

    monkeypatch.setattr(ExampleStore, "follow", follow)
    monkeypatch.setattr(export_ledger, "LOOK_EVERY_S", 0.001)
    examples = DataDirectory(tmp_path).examples
    examples.parent.mkdir()
    with contextlib.closing(ExportLedger(SqliteLedger(DataDirectory(tmp_path), encode), examples)) as ledger:
        eventually(lambda: len(looks) > 3 or None)
        assert ledger.store.is_level()
    assert guard.failures["examples"] == before + 2
    assert said(told, "examples") == ["KeyError"]
