"""The processes of this machine, as /proc shows them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children_of(pid: int) -> dict[int, list[str]]:
    """The processes that `pid` has started, each with the words of its command."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = (place / "stat").read_text().rpartition(") ")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found[int(place.name)] = (place / "cmdline").read_text().split("\0")
    return found


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    with contextlib.suppress(OSError, IndexError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    return False
