"""A worker: a whole gRPC server over the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avocet_grpc import __version__
from avocet_grpc.adapters.bench_runs import BenchRuns
from avocet_grpc.adapters.config_file import YamlConfigFile
from avocet_grpc.core.errors import CorrectionsError, StorageFailed, StorageFull
from avocet_grpc.core.model import File, ServerVersion
from avocet_grpc.core.ports.config import ConfigFile
from avocet_grpc.core.ports.ledger import Ledger
from avocet_grpc.core.ports.mirror import FileReport
from avocet_grpc.core.retention import DAY, Keep
from avocet_grpc.edge.address import Address, CannotListen, bind
from avocet_grpc.edge.async_ledger import READERS, REMOTE_READERS, Backend
from avocet_grpc.edge.auth.tls import server_credentials
from avocet_grpc.edge.grpc_server import build_server
from avocet_grpc.edge.health import Health
from avocet_grpc.edge.pruner import Pruner
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.foreign_files import Unreadable
from avocet_grpc.layout import EXAMPLES, DataDirectory
from avocet_grpc.processes.access import Access, CannotServe
from avocet_grpc.processes.bells import Bell
from avocet_grpc.processes.keeper_watch import KeeperWatch
from avocet_grpc.processes.ledger import open_ledger
from avocet_grpc.processes.memory import keep_small
from avocet_grpc.processes.messages import (
    Alive,
    Begin,
    Failed,
    Measure,
    Measured,
    Ping,
    Prepared,
    Reload,
    Running,
    Stop,
)
from avocet_grpc.processes.parent import Parent
from avocet_grpc.processes.reserve import has_room_for_commits
from avocet_grpc.settings import Settings
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.sql import schema
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from avocet_grpc.store.sqlite.search_index import SearchIndex
from avocet_grpc.telemetry import logs
from avocet_grpc.telemetry.guard import GuardedObserver, failed, guarded, keep

if TYPE_CHECKING:
    # Loaded only if somebody wants metrics.
    from avocet_grpc.telemetry.metrics import Metrics

REFRESH_S = 1.0
"""How often the tokens, the certificate and the state of writes are looked at."""


def run(parent: Parent) -> int:
    """Serve until the supervisor says Stop. Gives the exit code."""
    logs.configure(parent.begin.settings.log_level, process=parent.begin.name)
    keep_small()
    try:
        access = Access(parent.begin.settings)
        if not parent.may_go(Prepared()):
            return ExitCode.OK
        with ExitStack() as stack:
            parts = Parts(parent.begin, access, lambda: parent.report(Failed()), stack)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_serve(parent, access, parts))
    except (CannotServe, CannotListen, Unreadable, LedgerUnusable, StorageFull) as error:
        logs.say(f"avocet-grpc: {error}")
        return ExitCode.FAILED
    except StorageFailed:
        _end_at_once()


class Parts:
    """All parts below gRPC, opened in order; `stack` closes what was opened if a later one fails."""

    def __init__(self, begin: Begin, access: Access, on_failure: Callable[[], None], stack: ExitStack) -> None:
        settings = begin.settings
        self.ledger = open_ledger(begin, on_failure)
        stack.callback(self.ledger.close)
        config = self._config(settings)
        engine = "postgresql" if settings.is_shared else "sqlite"
        version = ServerVersion(__version__, engine, schema.VERSION, time.time())
        search = SearchIndex(DataDirectory(settings.data_dir).search) if settings.search else None
        exporting = ExportLedger(self.ledger, _examples_directory(settings, stack))
        stack.callback(exporting.close)
        readers = REMOTE_READERS if settings.is_shared else READERS
        self.backend = Backend(exporting, BenchRuns(config.bench_results_dir), config, version, search, readers)
        stack.callback(self.backend.close)
        self.metrics = self._measured(access) if settings.metrics_listen else None

    def _config(self, settings: Settings) -> ConfigFile:
        """The config file, or what takes its place if servers share the ledger."""
        return self.ledger.config() or YamlConfigFile(settings.config_dir)

    def _measured(self, access: Access) -> Metrics:
        from avocet_grpc.telemetry.metrics import LedgerCollector, Metrics

        metrics = Metrics()
        metrics.reload_failures = access.reload_failures
        self.ledger.observer = GuardedObserver(metrics)
        self.ledger.on_full(metrics.refused_as_full)
        self._of_ledger = LedgerCollector(self.ledger, self._reports, self.ledger.keeper)
        return metrics

    def _reports(self) -> dict[File, FileReport | None]:
        with self.ledger.mirror().view() as view:
            return {file: view.report(file) for file in File}

    def measure(self, order: Measure) -> Measured:
        """Return the metrics of this process, and with it those of the ledger if they are asked for. Blocks."""
        if self.metrics is None:
            return Measured([])
        from avocet_grpc.processes.exposition import families_of

        return Measured(families_of(self.metrics.registry, *([self._of_ledger] if order.ledger else [])))


def _examples_directory(settings: Settings, stack: ExitStack) -> Path:
    """Where the copy of the examples lies: a server without files has a directory as long as it runs."""
    if settings.keeps_files:
        return DataDirectory(settings.data_dir).examples
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="avocet-"))) / EXAMPLES


async def _serve(parent: Parent, access: Access, parts: Parts) -> int:
    settings = parent.begin.settings
    health, gate, certificate = Health(), Gate(), access.certificate
    server = build_server(
        parts.backend,
        health,
        lambda: access.credentials.value,
        settings.limits,
        gate,
        parts.metrics,
        share_port=parent.begin.share_port,
    )
    tls = server_credentials(certificate, access.asks_clients) if certificate else None
    bind(server, Address.parse(parent.begin.address, "--listen"), tls)
    events = Events(parent, parts)
    health.set(True)
    _follow_reach(parts.ledger, health, events)
    await server.start()
    parent.report(Running())
    tasks = [
        asyncio.create_task(keep("tokens and certificates", lambda: _look_at_files(events, access))),
        asyncio.create_task(keep("writes", lambda: _look_at_writes(events, parts.ledger, health, settings))),
        asyncio.create_task(keep("pruning", _pruner(parts, settings).next_round)),
    ]
    if settings.is_shared:
        keeper = KeeperWatch(parts.ledger.keeper, health, says=parent.begin.name.endswith(" 0"))
        tasks.append(asyncio.create_task(keep("the keeper of the files", keeper.look)))
    await events.stop.wait()
    for task in tasks:
        task.cancel()
    health.end()
    if events.storage_failed.is_set():
        await server.stop(1)
        _end_at_once()
    began = time.monotonic()
    await gate.shut(settings.grace_seconds / 2)
    await server.stop(settings.grace_seconds - (time.monotonic() - began))
    if events.storage_failed.is_set():
        _end_at_once()
    return ExitCode.OK


class Events:
    """What happens to the process, for the event loop: orders, and what the ledger reports from its own thread."""

    def __init__(self, parent: Parent, parts: Parts) -> None:
        self._parent, self._parts = parent, parts
        self._loop = loop = asyncio.get_running_loop()
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        self.storage_failed, self.storage_full = asyncio.Event(), asyncio.Event()

        def on_failure() -> None:
            loop.call_soon_threadsafe(self.storage_failed.set)
            loop.call_soon_threadsafe(self.stop.set)

        def on_full() -> None:
            loop.call_soon_threadsafe(self.storage_full.set)

        parts.ledger.on_failure(on_failure)
        parts.ledger.on_full(on_full)
        loop.add_reader(parent.fileno(), self._obey)
        self._bell = Bell(parent.begin.bell)
        loop.add_reader(self._bell.descriptor, self._rung)

    def _rung(self) -> None:
        """Another process has committed something."""
        self._bell.take()
        self._parts.backend.committed_elsewhere()

    def _obey(self) -> None:
        match self._parent.next_order():
            case Stop():
                self._loop.remove_reader(self._parent.fileno())
                self.stop.set()
            case Reload():
                self.reload.set()
            case Ping():
                self._parent.report(Alive())
            case Measure() as order:
                measure = guarded("metrics", lambda: self._parent.report(self._parts.measure(order)))
                self._loop.run_in_executor(None, measure)


def _follow_reach(ledger: Ledger, health: Health, events: Events) -> None:
    """Nothing serves while the ledger's database cannot be reached."""
    loop = asyncio.get_running_loop()

    def tell(reached: bool) -> None:
        if not events.stop.is_set():
            health.set(reached)

    def on_reach(reached: bool) -> None:
        loop.call_soon_threadsafe(tell, reached)

    ledger.on_reach(on_reach)


def _pruner(parts: Parts, settings: Settings) -> Pruner:
    kept = Keep(settings.keep_history_days * DAY, settings.keep_revisions_days * DAY)
    return Pruner(parts.backend, kept, parts.ledger.observer)


async def _look_at_files(events: Events, access: Access) -> None:
    """After a second, or at an order: have tokens or certificates changed?"""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(events.reload.wait(), REFRESH_S)
    force = events.reload.is_set()
    events.reload.clear()
    await asyncio.to_thread(access.refresh, force)


async def _look_at_writes(events: Events, ledger: Ledger, health: Health, settings: Settings) -> None:
    """Once nothing could be stored: can writes be stored again? Asked each second until they can."""
    await events.storage_full.wait()
    health.set_writes(False)
    await asyncio.sleep(REFRESH_S)
    events.storage_full.clear()
    has_room = settings.is_shared or await asyncio.to_thread(has_room_for_commits, settings.data_dir)
    try:
        if has_room:
            await asyncio.wrap_future(ledger.write(lambda tx: None))
    except Exception as error:
        # Whatever it is: this is asked again, or the health would say so for ever.
        has_room = False
        if not isinstance(error, CorrectionsError):
            failed("writes", error)
    if has_room:
        health.set_writes(True)
    else:
        events.storage_full.set()


def _end_at_once() -> NoReturn:
    """A ledger that failed must not be touched again, so nothing is closed and nothing is waited for."""
    logs.flush()
    os._exit(ExitCode.STORAGE_FAILED)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
