"""Gives memory that is free back to the system, so that a process is as large as its work.

Most of it is free at once. Objects that refer to each other are found by Python's collector, which looks at the young
ones often and at all of them rarely. It does not look at what a process has loaded by its start, and waits for more
young objects than by default: a call makes some hundred, nearly all of which are free when it ends.
"""

from __future__ import annotations

import gc
import threading
import time

from avocet_grpc.allocator import Allocator, give_back_large_blocks
from avocet_grpc.telemetry.guard import guarded

LOOK_EVERY_S = 0.25
YOUNG, TIMES, OLD = 2_000, 10, 5
"""So many objects more than were freed make the collector look at the young ones; so many such looks at older ones, and
so many of those at all. What an attack leaves behind is found soon, since all are few without what was loaded."""


def keep_small() -> None:
    """From now on, in a thread of its own."""
    give_back_large_blocks()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, TIMES, OLD)
    threading.Thread(target=_look, name="memory", daemon=True).start()


def _look() -> None:
    look = guarded("memory", Allocator().give_back_free_blocks)
    while True:
        time.sleep(LOOK_EVERY_S)
        look()
