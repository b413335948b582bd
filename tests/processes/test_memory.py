"""What a process does about memory from its start on."""

from __future__ import annotations

import subprocess
import sys

COUNT = """
import gc
from avocet_grpc.processes.memory import keep_small
import avocet_grpc.processes.worker
loaded = len(gc.get_objects())
keep_small()
print(loaded, len(gc.get_objects()))
class Ring: pass
rings = []
gc.callbacks.append(lambda phase, info: rings.append(info["collected"]) if phase == "stop" else None)
for _ in range(20_000):
    ring = Ring()
    ring.itself = ring
print(len(rings), sum(rings))
"""

AFTER_GROWTH = """
import gc, time, weakref
from avocet_grpc import allocator
gc.disable()
class Ring: pass
def lost_ring():
    ring = Ring()
    ring.itself = ring
    return weakref.ref(ring)
allocator.ONCE_MORE_S = 0.3
memory = allocator.Allocator()
grown, during = b"x" * (60 << 20), lost_ring()
memory.give_back_free_blocks()
del grown
after = lost_ring()
memory.give_back_free_blocks()
print(during() is None, after() is None)
time.sleep(0.4)
memory.give_back_free_blocks()
print(after() is None)
late = lost_ring()
time.sleep(0.4)
memory.give_back_free_blocks()
print(late() is None)
"""


def test_what_ends_after_a_process_has_grown_is_collected_too_and_nothing_while_it_is_small() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_GROWTH], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "False", "True", "False"]


def test_what_is_loaded_at_the_start_is_not_looked_at_again_and_what_comes_later_is_collected() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=60)
    loaded, looked_at, rounds, collected = map(int, done.stdout.split())
    assert loaded > 50_000
    assert looked_at < loaded / 100
    assert 2 <= rounds <= 20
    assert collected > 10_000
