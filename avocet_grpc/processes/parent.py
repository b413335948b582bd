"""The supervisor as a process that it started sees it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from multiprocessing.connection import Connection

from avocet_grpc.processes.messages import Begin, Go, Order, Report, Stop
from avocet_grpc.telemetry import failpoints

PR_SET_PDEATHSIG = 1
IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A terminal or a service manager sends them to every process of the service; the supervisor alone obeys them."""


class Parent:
    """The socket to the supervisor. `begin` is what it said first. Ends the process if its supervisor is gone."""

    def __init__(self, descriptor: int) -> None:
        for name in IGNORED:
            signal.signal(name, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        self._control = Connection(descriptor)
        self._sending = threading.Lock()
        order = self.next_order()
        if not isinstance(order, Begin) or os.getppid() != order.supervisor:
            raise SystemExit("avocet-grpc: the supervisor of this process is gone")
        self.begin = order
        failpoints.belong_to(order.supervisor, order.again)

    def fileno(self) -> int:
        """Return a descriptor that is readable when an order has come."""
        return self._control.fileno()

    def next_order(self) -> Order:
        """Wait for an order. Stop if the supervisor is gone."""
        try:
            order: Order = self._control.recv()
        except (EOFError, OSError):
            return Stop()
        return order

    def report(self, report: Report) -> None:
        """Tell the supervisor; from any thread."""
        with self._sending, contextlib.suppress(OSError):
            self._control.send(report)

    def may_go(self, prepared: Report) -> bool:
        """Say that this process is prepared, and wait for its Go. False if it must end instead."""
        self.report(prepared)
        while not isinstance(order := self.next_order(), Go):
            if isinstance(order, Stop):
                return False
        return True
