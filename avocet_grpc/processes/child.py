"""One process of the service as its supervisor sees it: started, told, reaped, started again."""

from __future__ import annotations

import contextlib
import enum
import subprocess
import sys
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from avocet_grpc.processes.bells import Bell
from avocet_grpc.processes.messages import Begin, Go, Order, Report, Stop

COMMAND = [sys.executable, "-P", "-m", "avocet_grpc.processes"]
"""Starts a process: a fresh interpreter, since gRPC's threads do not survive a fork."""

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A process that lived this long is restarted without a pause."""

REAP_S = 5.0


class Role(enum.StrEnum):
    """What a process does."""

    MIRROR = "mirror"
    WORKER = "worker"


class Phase(enum.IntEnum):
    """How far a process has come."""

    DEAD = 0
    STARTING = 1
    PREPARED = 2
    AT_IT = 3
    """It has its Go, and is not ready yet."""
    RUNNING = 4


class Child:
    """One process, and those that take its place. `due` is when to start it again, by the monotonic clock."""

    def __init__(self, role: Role, number: int, bell: Bell) -> None:
        self.role, self.number, self.bell = role, number, bell
        self.phase = Phase.DEAD
        self.restarts = 0
        self.was_told_to_stop = False
        self.due: float | None = None
        self._pause_s = 0.0
        self._began = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self.control: Connection | None = None

    def __str__(self) -> str:
        return self.role if self.role is Role.MIRROR else f"{self.role} {self.number}"

    @property
    def lives(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process id, 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self, begin: Begin, inherited: tuple[int, ...]) -> None:
        """Start a process that has these descriptors. Raises OSError."""
        ours, childs = Pipe()
        with childs:
            self._process = subprocess.Popen(
                [*COMMAND, self.role, str(childs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(childs.fileno(), *inherited),
            )
        self.control, self.phase, self.due = ours, Phase.STARTING, None
        self.was_told_to_stop = False
        self._began = time.monotonic()
        self.tell(begin)

    def tell(self, order: Order) -> None:
        """Send an order; to a process that has just died, nothing."""
        if self.control is not None:
            with contextlib.suppress(OSError):
                self.control.send(order)

    def go(self) -> None:
        """Tell it to do what it has prepared for."""
        self.phase = Phase.AT_IT
        self.tell(Go())

    def stop(self) -> None:
        """Tell it to end in order."""
        self.was_told_to_stop = True
        self.tell(Stop())

    def report(self) -> Report | None:
        """Return the report that has come; None if the process has ended."""
        assert self.control is not None
        try:
            report: Report = self.control.recv()
        except (EOFError, OSError):
            return None
        return report

    def reap(self) -> int:
        """Return the exit code of a process that has ended, or that ends now; below 0 after a signal."""
        assert self._process is not None
        try:
            code = self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self.control is not None:
            self.control.close()
        self._process = self.control = None
        self.phase = Phase.DEAD
        return code

    def kill(self) -> int:
        """End it at once, if it lives. Gives the exit code, 0 if there was no process."""
        if self._process is None:
            return 0
        self._process.kill()
        return self.reap()

    def start_later(self) -> float:
        """Let it start again after a pause that grows while it does not last. Gives the pause in seconds."""
        self.restarts += 1
        lasted = time.monotonic() - self._began >= STEADY_S
        self._pause_s = 0.0 if lasted else min(LONGEST_PAUSE_S, self._pause_s * 2 or FIRST_PAUSE_S)
        self.due = time.monotonic() + self._pause_s
        return self._pause_s
