"""The write lease: a program that opens the file meanwhile waits, so no reader sees half of a change."""

from __future__ import annotations

import signal
from pathlib import Path

from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk, Lease

PATIENCE_S = 0.2
"""After this long without a lease, the file is appended to or replaced without one."""
TRIES_S = 0.1
PAUSE_S = 0.001


def ignore_sigio() -> None:
    """Ignore the signal of a broken lease, whose default action ends the process. Only in the main thread."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def take_lease(disk: Disk, clock: Clock, descriptor: int, patience_s: float) -> Lease:
    """Try for `patience_s` seconds to take the write lease. It ends with the descriptor. Raises OSError."""
    deadline = clock.monotonic() + patience_s
    while True:
        answer = disk.write_lease(descriptor)
        if answer is not Lease.REFUSED or clock.monotonic() > deadline:
            return answer
        clock.sleep(PAUSE_S)


def lease_now(disk: Disk, path: Path) -> Lease:
    """Return what a write lease on the file would get at this moment; GRANTED if there is no file. Raises OSError."""
    try:
        descriptor = disk.open_to_change(path)
    except FileNotFoundError:
        return Lease.GRANTED
    try:
        return disk.write_lease(descriptor)
    finally:
        disk.close(descriptor)
