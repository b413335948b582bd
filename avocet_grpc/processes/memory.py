"""Gives memory that is free back to the system, so that a process is as large as its work."""

from __future__ import annotations

import threading
import time

from avocet_grpc.allocator import Allocator, give_back_large_blocks
from avocet_grpc.telemetry.guard import guarded

LOOK_EVERY_S = 0.25


def keep_small() -> None:
    """From now on, in a thread of its own."""
    give_back_large_blocks()
    threading.Thread(target=_look, name="memory", daemon=True).start()


def _look() -> None:
    look = guarded("memory", Allocator().give_back_free_blocks)
    while True:
        time.sleep(LOOK_EVERY_S)
        look()
