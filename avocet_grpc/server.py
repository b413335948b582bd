"""Puts the parts together: the one place that names them all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NoReturn

import structlog

from avocet_grpc import __version__
from avocet_grpc.adapters.bench_runs import BenchRuns
from avocet_grpc.adapters.config_file import YamlConfigFile
from avocet_grpc.allocator import give_back_large_blocks
from avocet_grpc.core.errors import CorrectionsError, StorageFailed, StorageFull
from avocet_grpc.core.model import ServerVersion
from avocet_grpc.edge.address import Address, CannotListen, bind
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.auth.credentials import watch_credentials
from avocet_grpc.edge.auth.reloading import Watched
from avocet_grpc.edge.auth.tls import server_credentials, watch_certificate
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.edge.grpc_server import build_server
from avocet_grpc.edge.health import Health
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.foreign_files import Unreadable
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.lock import DataDirectoryLock, DataDirectoryTaken
from avocet_grpc.settings import Settings
from avocet_grpc.shared_files.patch import ignore_sigio
from avocet_grpc.shared_files.syncer import Syncer
from avocet_grpc.store import schema
from avocet_grpc.store.files_store import SqliteStore
from avocet_grpc.store.soundness import LedgerUnusable
from avocet_grpc.telemetry import logs
from avocet_grpc.telemetry.guard import GuardedObserver, keep
from avocet_grpc.telemetry.metrics import LedgerCollector, Metrics

REFRESH_S = 1.0
"""How often the tokens, the certificate and the state of writes are looked at."""

log = structlog.get_logger("avocet_grpc")


class CannotStart(Exception):
    """The server cannot start; the text is one line for its operator."""


def run(settings: Settings) -> int:
    """Serve until a signal ends it. Gives the process's exit code."""
    logs.configure(settings.log_level)
    give_back_large_blocks()
    try:
        access = Access(settings)
        with ExitStack() as stack:
            parts = Parts(settings, access, stack)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_serve(settings, access, parts))
    except DataDirectoryTaken as error:
        return _complain(str(error), ExitCode.DIRECTORY_TAKEN)
    except (CannotStart, CannotListen, Unreadable) as error:
        return _complain(str(error), ExitCode.FAILED)
    except StorageFailed:
        _end_at_once()
    except (LedgerUnusable, StorageFull) as error:
        return _complain(str(error), ExitCode.FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted before it served", ExitCode.FAILED)


class Access:
    """Where the server listens, and who may call it there. Raises CannotStart, CannotListen or Unreadable."""

    def __init__(self, settings: Settings) -> None:
        self.address = Address.parse(settings.listen, "--listen")
        self.credentials = watch_credentials(settings)
        self.certificate = None
        self.asks_clients = settings.tls_client_ca is not None
        if settings.tls_cert and settings.tls_key:
            self.certificate = watch_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        elif settings.tls_cert or settings.tls_key or settings.tls_client_ca:
            raise CannotStart("TLS needs both --tls-cert and --tls-key")
        protected = self.certificate is not None and settings.tokens_file is not None
        if not (protected or settings.insecure or self.address.is_local()):
            raise CannotStart(
                f"{settings.listen} can be reached from other machines: set --tls-cert, --tls-key and --tokens-file,"
                " or listen on 127.0.0.1 or unix:PATH, or say --insecure"
            )

    @property
    def _watched(self) -> list[Watched[Any]]:
        return [self.credentials, *([self.certificate] if self.certificate else [])]

    def refresh(self, force: bool = False) -> None:
        """Read again what has changed; with `force` in any case."""
        for watched in self._watched:
            watched.refresh(force)

    def reload_failures(self) -> int:
        """How often a changed file could not be taken up."""
        return sum(watched.failures for watched in self._watched)


class Parts:
    """All parts below gRPC, opened in order; `stack` closes what was opened where a later one fails."""

    def __init__(self, settings: Settings, access: Access, stack: ExitStack) -> None:
        with _clear("cannot use the data directory"):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            self.lock = DataDirectoryLock(settings.data_dir)
            stack.callback(self.lock.release)
            self.lock.name(settings.listen)
        with _clear("cannot use the config directory"):
            settings.config_dir.mkdir(parents=True, exist_ok=True)
        ignore_sigio()
        self.store = SqliteStore(
            DataDirectory(settings.data_dir).ledger, encode=encode_example, waiting=settings.limits.waiting_writes
        )
        stack.callback(self.store.close)
        config = YamlConfigFile(settings.config_dir)
        version = ServerVersion(__version__, "sqlite", schema.VERSION, time.time())
        self.backend = Backend(self.store, BenchRuns(config.bench_results_dir), config, version)
        stack.callback(self.backend.close)
        self.syncer = Syncer(self.store, settings.data_dir)
        self.metrics = self._measured(settings, access, stack) if settings.metrics_listen else None

    def _measured(self, settings: Settings, access: Access, stack: ExitStack) -> Metrics:
        address, metrics = Address.parse(settings.metrics_listen, "--metrics-listen"), Metrics()
        if address.socket is not None:
            raise CannotStart("--metrics-listen must be HOST:PORT, for example 127.0.0.1:9464")
        metrics.registry.register(LedgerCollector(metrics, self.store, access.reload_failures))
        try:
            port, end = metrics.serve(address.host, address.port)
        except OSError as error:
            raise CannotStart(f"cannot listen on {settings.metrics_listen} for metrics: {error.strerror}") from error
        stack.callback(end)
        self.store.observer = GuardedObserver(metrics)
        self.store.on_full(metrics.refused_as_full)
        logs.say(f"metrics on http://{address.text.rpartition(':')[0]}:{port}/metrics")
        return metrics


async def _serve(settings: Settings, access: Access, parts: Parts) -> int:
    health, gate = Health(), Gate()
    server = build_server(parts.backend, health, lambda: access.credentials.value, settings.limits, gate, parts.metrics)
    certificate = access.certificate
    tls = server_credentials(certificate, access.asks_clients) if certificate else None
    address = bind(server, access.address, tls)
    events = Events(parts.store)
    with _clear("cannot use the shared files"):
        await asyncio.to_thread(parts.syncer.adopt)
        parts.lock.name(address)
        parts.syncer.start()
    health.set(True)
    await server.start()
    logs.say(f"listening on {address}")
    if parts.metrics is not None:
        parts.metrics.serving = True
    keepers = [
        asyncio.create_task(keep("tokens and certificates", lambda: _look_at_files(events, access))),
        asyncio.create_task(keep("writes", lambda: _look_at_writes(events, parts.store, health))),
    ]
    await events.stop.wait()
    for keeper in keepers:
        keeper.cancel()
    health.end()
    if parts.metrics is not None:
        parts.metrics.serving = False
    if events.storage_failed.is_set():
        await server.stop(1)
        _end_at_once()
    began = time.monotonic()
    await gate.shut(settings.grace_seconds / 2)
    await server.stop(settings.grace_seconds - (time.monotonic() - began))
    finished = asyncio.ensure_future(asyncio.to_thread(parts.syncer.stop, settings.sync_seconds))
    failed = asyncio.ensure_future(events.storage_failed.wait())
    await asyncio.wait({finished, failed}, return_when=asyncio.FIRST_COMPLETED)
    if events.storage_failed.is_set():
        _end_at_once()
    failed.cancel()
    if not await finished:
        return _complain(
            "the shared files could not be brought up to date; start and stop again", ExitCode.FILES_BEHIND
        )
    return ExitCode.OK


class Events:
    """What happens to the process, for the event loop: signals, and what the ledger reports from its own thread."""

    def __init__(self, store: SqliteStore) -> None:
        loop = asyncio.get_running_loop()
        self.stop, self.reload = asyncio.Event(), asyncio.Event()
        self.storage_failed, self.storage_full = asyncio.Event(), asyncio.Event()

        def on_failure() -> None:
            loop.call_soon_threadsafe(self.storage_failed.set)
            loop.call_soon_threadsafe(self.stop.set)

        def on_full() -> None:
            loop.call_soon_threadsafe(self.storage_full.set)

        store.on_failure(on_failure)
        store.on_full(on_full)
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)


async def _look_at_files(events: Events, access: Access) -> None:
    """After a second, or at a signal: have tokens or certificates changed?"""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(events.reload.wait(), REFRESH_S)
    force = events.reload.is_set()
    events.reload.clear()
    await asyncio.to_thread(access.refresh, force)


async def _look_at_writes(events: Events, store: SqliteStore, health: Health) -> None:
    """Once the disk was full: can writes be stored again? Asked each second until they can."""
    await events.storage_full.wait()
    health.set_writes(False)
    await asyncio.sleep(REFRESH_S)
    events.storage_full.clear()
    try:
        await asyncio.wrap_future(store.write(lambda tx: None))
    except CorrectionsError:
        events.storage_full.set()
    else:
        health.set_writes(True)


def _end_at_once() -> NoReturn:
    """A ledger that failed must not be touched again, so nothing is closed and nothing is waited for."""
    _complain("the storage failed; what was under way is unknown", ExitCode.STORAGE_FAILED)
    logs.flush()
    os._exit(ExitCode.STORAGE_FAILED)


@contextlib.contextmanager
def _clear(problem: str) -> Iterator[None]:
    """An operating system's refusal as one clear line."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"{problem}: {error.strerror or type(error).__name__} ({error.filename})") from error


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _complain(line: str, code: int) -> int:
    logs.say(f"avocet-grpc: {line}")
    return code
