"""What a server's processes use: CPU by process and thread, memory, bytes written to disk. Read from /proc."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROLES = ("worker", "mirror")
GRPC = ("grpc", "resolver-exec", "event_engine", "timer_manager", "default-exec")
"""How the names of gRPC's own threads begin."""


def processes(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_nanoseconds(pid: int) -> Counter[str]:
    """Nanoseconds of CPU so far, by process and kind of thread, such as "worker: event loop"."""
    used: Counter[str] = Counter()
    for each in processes(pid):
        role = _role(each, pid)
        for task, name in _threads(each):
            kind = "event loop" if task == each else "gRPC's threads" if name.startswith(GRPC) else "other threads"
            used[f"{role}: {kind}"] += _nanoseconds(each, task)
    return used


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of all processes in MB: now, and the sum of what each had at its highest."""
    now = highest = 0.0
    for each in processes(pid):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines())
            now += int(fields["VmRSS"].split()[0]) / 1024
            highest += int(fields["VmHWM"].split()[0]) / 1024
    return now, highest


def written_bytes(pid: int) -> int:
    """Bytes that all processes have caused to be written to disk."""
    total = 0
    for each in processes(pid):
        with contextlib.suppress(OSError):
            fields = dict(line.split(": ") for line in Path(f"/proc/{each}/io").read_text().splitlines())
            total += int(fields["write_bytes"])
    return total


def _role(pid: int, root: int) -> str:
    if pid == root:
        return "main"
    with contextlib.suppress(OSError):
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return next((role for role in ROLES if role in arguments), "other")
    return "other"


def _threads(pid: int) -> Iterator[tuple[int, str]]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            yield int(task.name), (task / "comm").read_text().strip()


def _nanoseconds(pid: int, task: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    return 0
