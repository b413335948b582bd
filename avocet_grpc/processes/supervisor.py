"""Starts the processes of the service in order, restarts those that die, and ends them in order."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection, wait
from typing import Any

import structlog

from avocet_grpc.edge.address import CannotListen
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.lock import DataDirectoryLock, DataDirectoryTaken
from avocet_grpc.maintenance.private_directory import UnsafeDirectory, refuse_if_planted
from avocet_grpc.maintenance.replacement import finish
from avocet_grpc.processes.bells import new_bell
from avocet_grpc.processes.child import Child, Phase, Role
from avocet_grpc.processes.exposure import Exposed, refuse_if_exposed
from avocet_grpc.processes.messages import Alive, Begin, Failed, Measured, Prepared, Released, Reload, Report, Running
from avocet_grpc.processes.port import Port
from avocet_grpc.processes.pulse import Pulse
from avocet_grpc.processes.reserve import give_back_or_set_aside
from avocet_grpc.processes.scrape import CannotMeasure, Scrape
from avocet_grpc.settings import Settings
from avocet_grpc.store.sqlite.search_index import CannotSearch, refuse_without_trigrams
from avocet_grpc.telemetry import logs
from avocet_grpc.wording import FILES_BEHIND

MARGIN_S = 5.0
"""How long a process may overrun the time that it has for its end."""

ANSWERING_S = 3.0
"""How long a process whose storage failed may tell its callers."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger("avocet_grpc")


class CannotStart(Exception):
    """The service cannot start; the text is one line for its operator."""


def run(settings: Settings) -> int:
    """Serve until a signal ends it. Gives the exit code."""
    logs.configure(settings.log_level, process="supervisor")
    try:
        with ExitStack() as stack:
            return Supervisor(settings, stack).run()
    except DataDirectoryTaken as error:
        return _complain(str(error), ExitCode.DIRECTORY_TAKEN)
    except (CannotStart, CannotListen, CannotMeasure, CannotSearch, Exposed, UnsafeDirectory) as error:
        return _complain(str(error), ExitCode.FAILED)


class Supervisor:
    """All processes of one service; `stack` gives up what it holds."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._woken, self._waker = socket.socketpair()
        stack.callback(self._waker.close)
        stack.callback(self._woken.close)
        self._catch_signals(stack)
        address = refuse_if_exposed(settings)
        if settings.search:
            _refuse_search_if_impossible(settings)
        self._lock = self._taken(settings, stack) if settings.keeps_files else None
        with _clear("cannot use the config directory"):
            settings.config_dir.mkdir(parents=True, exist_ok=True)
        self._port = Port(address, shared=settings.workers > 1)
        stack.callback(self._port.close)
        self._mirror = Child(Role.MIRROR, 0, new_bell()) if settings.keeps_files else None
        self._workers = [Child(Role.WORKER, number, new_bell()) for number in range(settings.workers)]
        self._children = [*([self._mirror] if self._mirror else []), *self._workers]
        stack.callback(self._kill_all)
        self._scrape = Scrape(settings.metrics_listen, self._children, self._wake, stack)
        self._pulse = Pulse(self._children)
        self._service = secrets.token_hex(16)
        self._serving = self._stopping = self._released = False
        self._mirror_may_start = True
        self._deadline: float | None = None
        self._exit: int | None = None

    def run(self) -> int:
        """Start all, and look after them until the end. Gives the exit code."""
        for child in reversed(self._children):
            self._start(child)
        while self._exit is None:
            self._look()
        return self._exit

    def _taken(self, settings: Settings, stack: ExitStack) -> DataDirectoryLock:
        with _clear("cannot use the data directory"):
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            lock = DataDirectoryLock(settings.data_dir)
            stack.callback(lock.release)
            refuse_if_planted(settings.data_dir)
            lock.name(settings.listen)
        give_back_or_set_aside(settings.data_dir)
        with _clear("cannot finish a rebuild of the ledger that was cut off"):
            finish(DataDirectory(settings.data_dir))
        return lock

    def _catch_signals(self, stack: ExitStack) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._signals: list[int] = []
        before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for name in SIGNALS:
            stack.callback(signal.signal, name, signal.signal(name, lambda number, _: self._signals.append(number)))

    def _wake(self) -> None:
        """From another thread: look at once."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _start(self, child: Child) -> None:
        others = tuple(one.bell.descriptor for one in self._children if one is not child)
        begin = Begin(
            self._settings,
            str(child),
            os.getpid(),
            self._port.address,
            self._settings.workers > 1,
            child.bell.descriptor,
            others,
            self._lock.fileno() if self._lock is not None else -1,
            self._service,
            again=self._serving,
            released=self._released,
        )
        # The lock goes along: nobody may take the directory while a process of a killed supervisor still writes.
        held = () if self._lock is None else (self._lock.fileno(),)
        child.start(begin, (child.bell.descriptor, *others, *held))

    def _start_again(self, child: Child) -> None:
        try:
            self._start(child)
        except OSError as error:
            log.error("process cannot be started", child=str(child), error=str(error), in_seconds=child.start_later())

    def _look(self) -> None:
        """Wait until something happens, and heed it."""
        by_control: dict[Any, Child] = {child.control: child for child in self._children if child.control is not None}
        for found in wait([*by_control, self._woken], self._patience()):
            if isinstance(found, Connection):
                if not found.closed:
                    self._heed(by_control[found])
            else:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4_096)
        for number in self._take_signals():
            self._obey(number)
        self._scrape.ask()
        self._keep_time()

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _patience(self) -> float | None:
        times = [child.due for child in self._children if child.due is not None]
        times += [self._deadline] if self._deadline is not None else []
        times += [self._pulse.due] if self._serving and not self._stopping else []
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _heed(self, child: Child) -> None:
        report = child.report()
        if report is None:
            self._ended(child, child.reap())
        else:
            self._told(child, report)

    def _told(self, child: Child, report: Report) -> None:
        match report:
            case Prepared():
                child.phase = Phase.PREPARED
            case Running():
                child.phase = Phase.RUNNING
            case Released():
                # A mirror that takes this one's place must not take the files again.
                self._released = True
                return
            case Measured(families):
                self._scrape.told(child, families)
                return
            case Alive():
                self._pulse.answered(child)
                return
            case Failed():
                self._storage_failed(child)
                return
        self._advance()

    def _advance(self) -> None:
        """Give every process the order that it waits for, if all before it is ready."""
        mirror, workers = self._mirror, self._workers
        if mirror and mirror.phase is Phase.PREPARED and (self._serving or _all_are(workers, Phase.PREPARED)):
            mirror.go()
        if self._serving or not mirror or mirror.phase is Phase.RUNNING:
            for worker in workers if not self._stopping else ():
                if worker.phase is Phase.PREPARED:
                    worker.go()
        adopted = not mirror or mirror.phase is Phase.RUNNING
        if not self._serving and adopted and _all_are(workers, Phase.RUNNING):
            self._serving = True
            if self._lock is not None:
                self._lock.name(self._port.address)
            logs.say(f"listening on {self._port.address}")
        if self._stopping:
            self._finish()

    def _ended(self, child: Child, code: int) -> None:
        self._scrape.gone(child)
        if code == ExitCode.STORAGE_FAILED:
            self._storage_failed(child)
        elif self._stopping:
            self._finish(child, code)
        elif not self._serving:
            if code <= 0:
                _complain(f"the {child} ended before it served ({_reason(code)})", ExitCode.FAILED)
            self._exit = code if code > 0 else ExitCode.FAILED
        else:
            pause = child.start_later()
            log.error("process ended; it starts again", child=str(child), reason=_reason(code), in_seconds=pause)

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            for worker in self._workers:
                worker.tell(Reload())
        elif not self._serving:
            self._exit = _complain("stopped before it served", ExitCode.FAILED)
        elif not self._stopping:
            self._stopping = True
            self._deadline = time.monotonic() + self._settings.grace_seconds + MARGIN_S
            for child in self._children:
                child.due = None
            for worker in self._workers:
                if worker.phase is Phase.RUNNING:
                    worker.stop()
                else:
                    worker.kill()
            self._finish()

    def _finish(self, ended: Child | None = None, code: int = 0) -> None:
        """At a stop: once the last worker has ended, the mirror brings the files level, and its end is the service's.

        A mirror that died is started once more for it.
        """
        mirror = self._mirror
        if mirror is None:
            if not any(worker.lives for worker in self._workers):
                self._exit = ExitCode.OK
            return
        if ended is mirror and mirror.was_told_to_stop:
            self._exit = code if code in (ExitCode.OK, ExitCode.FILES_BEHIND) else self._files_behind()
            return
        if ended is not None and code != ExitCode.OK:
            log.error("process ended during the stop", child=str(ended), reason=_reason(code))
        if any(worker.lives for worker in self._workers):
            return
        if mirror.phase is Phase.RUNNING and not mirror.was_told_to_stop:
            self._deadline = time.monotonic() + self._settings.sync_seconds + MARGIN_S
            mirror.stop()
        elif not mirror.lives and not self._mirror_may_start:
            self._exit = self._files_behind()
        elif not mirror.lives:
            self._mirror_may_start = False
            self._deadline = time.monotonic() + self._settings.sync_seconds + MARGIN_S
            self._start(mirror)

    def _keep_time(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.due is not None and child.due <= now:
                self._start_again(child)
        if self._serving and not self._stopping:
            self._end_silent()
        if self._deadline is None or now < self._deadline or self._exit is not None:
            return
        self._deadline = None
        if late := [worker for worker in self._workers if worker.lives]:
            for worker in late:
                log.error("process did not end in time", child=str(worker))
                worker.kill()
            self._finish()
        else:
            self._exit = self._files_behind()

    def _end_silent(self) -> None:
        """A stop has a deadline of its own; until then a process that does not answer is replaced."""
        for child in self._pulse.silent():
            log.error("process does not answer", child=str(child))
            self._ended(child, child.kill())

    def _files_behind(self) -> int:
        return _complain(FILES_BEHIND, ExitCode.FILES_BEHIND)

    def _storage_failed(self, failed: Child) -> None:
        """Nobody may write to the ledger again: the others end at once, the one that failed once it has said so."""
        for child in self._children:
            if child is not failed:
                child.kill()
        if failed.control is not None:
            deadline = time.monotonic() + ANSWERING_S
            while (left := deadline - time.monotonic()) > 0 and wait([failed.control], left):
                if failed.report() is None:
                    break
        failed.kill()
        self._exit = _complain("the storage failed; what was under way is unknown", ExitCode.STORAGE_FAILED)

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()


def _refuse_search_if_impossible(settings: Settings) -> None:
    """Raises CannotStart, CannotSearch."""
    if settings.is_shared:
        raise CannotStart("--search works with the store sqlite only; leave it out with --store postgres://")
    refuse_without_trigrams()


def _all_are(children: list[Child], phase: Phase) -> bool:
    return all(child.phase is phase for child in children)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


@contextlib.contextmanager
def _clear(problem: str) -> Iterator[None]:
    """An operating system's refusal as one clear line."""
    try:
        yield
    except OSError as error:
        raise CannotStart(f"{problem}: {error.strerror or type(error).__name__} ({error.filename})") from error


def _complain(line: str, code: int) -> int:
    logs.say(f"avocet-grpc: {line}")
    return code
