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
"""The collector looks at the young objects once YOUNG more were made than freed, at the older ones after TIMES such
looks, and at all after OLD looks at the older ones. So it finds what an attack leaves behind, and none takes long."""


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
