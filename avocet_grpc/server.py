"""Puts the parts together: the one place that names them all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from avocet_grpc import logs
from avocet_grpc.core.errors import StorageFailed, StorageFull
from avocet_grpc.edge.backend import Backend
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.edge.interceptors import interceptors
from avocet_grpc.edge.servicer import SERVICE, CorrectionsServicer, method_handlers
from avocet_grpc.lock import DataDirectoryLock, DataDirectoryTaken
from avocet_grpc.settings import Settings
from avocet_grpc.shared_files.bench_runs import BenchRuns
from avocet_grpc.shared_files.config_file import YamlConfigFile
from avocet_grpc.shared_files.patch import ignore_sigio
from avocet_grpc.shared_files.syncer import Syncer
from avocet_grpc.store.sqlite import LedgerUnusable, SqliteStore

EXIT_OK = 0
EXIT_CANNOT_START = 1
EXIT_TAKEN = 3
EXIT_FILES_BEHIND = 4
EXIT_STORAGE_FAILED = 5

OPTIONS = (
    # Two servers on one port would share its calls without a word.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
)
REFLECTED = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

log = structlog.get_logger("avocet_grpc")


class CannotStart(Exception):
    """The server cannot start; the text is one line for its operator."""


def run(settings: Settings) -> int:
    """Serve until a signal ends it. Gives the process's exit code."""
    logs.configure()
    try:
        with ExitStack() as stack:
            parts = Parts(settings, stack)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_serve(settings, parts))
    except DataDirectoryTaken as error:
        return _complain(str(error), EXIT_TAKEN)
    except CannotStart as error:
        return _complain(str(error), EXIT_CANNOT_START)
    except (LedgerUnusable, StorageFailed, StorageFull) as error:
        return _complain(f"{error} (in {settings.data_dir / '.avocet'})", EXIT_CANNOT_START)
    except KeyboardInterrupt:
        return _complain("interrupted before it served", EXIT_CANNOT_START)


class Parts:
    """All parts below gRPC, opened in order; `stack` closes what was opened where a later one fails."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        with _clear("cannot use the data directory"):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            self.lock = DataDirectoryLock(settings.data_dir)
            stack.callback(self.lock.release)
            self.lock.name(settings.listen)
        with _clear("cannot use the config directory"):
            settings.config_dir.mkdir(parents=True, exist_ok=True)
        ignore_sigio()
        self.store = SqliteStore(settings.data_dir / ".avocet" / "ledger.db", encode=encode_example)
        stack.callback(self.store.close)
        config = YamlConfigFile(settings.config_dir)
        self.backend = Backend(self.store, BenchRuns(config.bench_results_dir), config)
        stack.callback(self.backend.close)
        self.syncer = Syncer(self.store, settings.data_dir)


async def _serve(settings: Settings, parts: Parts) -> int:
    stop = asyncio.Event()
    storage_failed = asyncio.Event()
    loop = asyncio.get_running_loop()
    health = HealthServicer()
    server = grpc.aio.server(interceptors=interceptors(settings.ingestion_secret), options=OPTIONS)
    server.add_generic_rpc_handlers((method_handlers(CorrectionsServicer(parts.backend)),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection(REFLECTED, server)
    address = _bind(server, settings.listen)

    def on_failure() -> None:
        loop.call_soon_threadsafe(storage_failed.set)
        loop.call_soon_threadsafe(stop.set)

    parts.store.on_failure(on_failure)
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    with _clear("cannot use the shared files"):
        await asyncio.to_thread(parts.syncer.adopt)
        parts.lock.name(address)
        parts.syncer.start()
    await _set_health(health, SERVING)
    await server.start()
    print(f"listening on {address}", file=sys.stderr, flush=True)
    await stop.wait()
    await _set_health(health, NOT_SERVING)
    if storage_failed.is_set():
        await server.stop(1)
        _end_at_once()
    await server.stop(settings.grace_seconds)
    clean = await asyncio.to_thread(parts.syncer.stop, settings.sync_seconds)
    if storage_failed.is_set():
        _end_at_once()
    if not clean:
        return _complain("the shared files could not be brought up to date; start and stop again", EXIT_FILES_BEHIND)
    return EXIT_OK


def _bind(server: grpc.aio.Server, listen: str) -> str:
    """Take the port. Gives HOST:PORT as it is served."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise CannotStart("--listen must be HOST:PORT, for example 127.0.0.1:50051")
    try:
        bound = server.add_insecure_port(listen)
    except RuntimeError:
        bound = 0
    if not bound:
        raise CannotStart(f"cannot listen on {listen}: the port is taken, or the host is not this machine's")
    return f"{host}:{bound}"


async def _set_health(health: HealthServicer, status: Any) -> None:
    for service in ("", SERVICE):
        await health.set(service, status)


def _end_at_once() -> None:
    """A ledger that failed must not be touched again, so nothing is closed and nothing is waited for."""
    _complain("the storage failed; what was under way is unknown", EXIT_STORAGE_FAILED)
    sys.stderr.flush()
    os._exit(EXIT_STORAGE_FAILED)


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
    print(f"avocet-grpc: {line}", file=sys.stderr, flush=True)
    return code
