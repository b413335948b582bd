"""Random schedules of the service, other programs, kills, power cuts and stops against the real mirror and ledger.

python -m tests.mirror.schedules.run 1000            # seeds 0 to 999
python -m tests.mirror.schedules.run 1 --seed 17     # one, with all that happened
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog

from avocet_grpc.core.model import File
from tests.mirror.schedules.oracle import Violation
from tests.mirror.schedules.world import Kill, World, temporary

STEPS = 60


class Schedule:
    """One schedule, told by its seed."""

    def __init__(self, seed: int, directory: Path, prepare: Callable[[World], None] = lambda world: None) -> None:
        self.world = World(seed, directory, beside=seed % 3 == 2)
        prepare(self.world)
        self.random = self.world.random
        self.steps = STEPS + seed % 3 * 40
        self.is_up = False
        self.damaged: set[File] = set()

    def run(self) -> None:
        """Raises Violation."""
        world = self.world
        self._guarded(lambda: world.start())
        for _ in range(self.steps):
            self._step()
        self._end()

    def _guarded(self, work: Callable[[], object]) -> bool:
        """Run a part of the mirror, during which others may come, or a kill."""
        world = self.world
        world.countdown = self.random.choice([3, 10, 20, 30, 60, 100, 10**9, 10**9])
        world.action = self._between if self.random.random() < 0.85 else world.kill
        try:
            work()
        except Kill:
            self._after_kill()
            return False
        finally:
            world.countdown = 10**9
        self.is_up = True
        return True

    def _after_kill(self) -> None:
        world = self.world
        world.killed()
        self.is_up = False
        if self.random.random() < 0.3 and world.disk.exists(world.directory.running):
            world.power_cut()
        if self.random.random() < 0.2:
            world.lose_index()

    def _between(self) -> None:
        """What others do between two things that the mirror does."""
        if self.random.random() < 0.5:
            if self.world.disk.exists(self.world.directory.running) or self.world.beside:
                self.world.serve()
        else:
            self._foreign(quiet=False)

    def _step(self) -> None:
        world, dice = self.world, self.random.random()
        if not self.is_up:
            if dice < 0.5:
                self._guarded(world.start)
            elif dice < 0.7 and world.beside:
                world.serve()
            else:
                self._foreign(quiet=True)
            return
        if dice < 0.5:
            for _ in range(self.random.choice([1, 1, 2, 4])):
                if not self._guarded(world.round):
                    return
                world.clock.sleep(self.random.choice([0.05, 0.25]))
        elif dice < 0.68:
            world.serve()
        elif dice < 0.95:
            self._foreign(quiet=True)
        elif dice < 0.97:
            self._after_kill()
        elif not world.readings:
            self._stop_and_start()

    def _foreign(self, quiet: bool) -> None:
        """One thing that other programs do. `quiet`: the mirror is between two rounds."""
        world, dice = self.world, self.random.random()
        file = self.random.choice(list(File))
        if file in self.damaged:
            if self.is_up and world.mirror is not None and world.is_level(file):
                self.damaged.discard(file)
            return
        if file in world.pieces:
            # Nobody else touches a file that is half written: they would lose each other's lines.
            if dice < 0.4:
                world.write_rest(file)
            elif quiet:
                self._wait(self.random.choice([1, 3, 12]))
                world.say("time")
            return
        world.readings = [one for one in world.readings if world.clock.passed - one.at < 30]
        if dice < 0.25:
            world.append(file)
        elif dice < 0.42:
            world.read(file)
        elif dice < 0.62 and world.readings:
            reading = world.readings.pop(self.random.randrange(len(world.readings)))
            if reading.file not in self.damaged and reading.file not in world.pieces:
                world.rewrite(reading, pieces=True)
        elif dice < 0.68:
            world.hold(file)
        elif dice < 0.78 and world.held:
            world.let_go()
        elif dice < 0.82 and quiet and self.is_up and world.is_level(file):
            self._damage(file)
        elif quiet:
            self._wait(self.random.choice([1, 3, 12] if world.readings else [1, 3, 12, 70]))
            world.say("time")

    def _wait(self, seconds: float) -> None:
        """A mirror that is up looks four times a second: here a few times are enough."""
        for part in (0.3, 5.5, 5.5, 58.7):
            if seconds <= 0 or (self.is_up and not self._guarded(self.world.round)):
                return
            for file, piece in list(self.world.pieces.items()):
                # A pause of a minute may be longer than the service waits.
                if self.world.clock.passed + min(part, seconds) - piece.at > 45:
                    self.world.write_rest(file)
            self.world.clock.sleep(min(part, seconds))
            seconds -= part

    def _damage(self, file: File) -> None:
        world = self.world
        world.damage(file)
        self.damaged.add(file)
        for inode, held_file in world.held:
            if held_file is file:
                inode.holders -= 1
        world.held = [one for one in world.held if one[1] is not file]
        world.readings = [one for one in world.readings if one.file is not file]

    def _rest(self) -> None:
        world = self.world
        world.countdown = 10**9
        world.let_all_go()
        for file in list(world.pieces):
            world.write_rest(file)
        world.come_to_rest()
        world.check()

    def _stop_and_start(self) -> None:
        """A clean stop, edits by hand, perhaps a lost private directory, and a start."""
        world = self.world
        self._rest()
        world.stop()
        world.check()
        self.is_up = False
        world.clock.sleep(100)
        if world.beside and self.random.random() < 0.6:
            world.serve()
            world.serve()
        for _ in range(self.random.randrange(3)):
            file = self.random.choice(list(File))
            if self.random.random() < 0.4:
                world.append(file)
            else:
                world.read(file)
                world.rewrite(world.readings.pop())
        if not world.beside and self.random.random() < 0.3:
            world.lose_private()
        world.clock.sleep(self.random.choice([1, 100]))
        self._guarded(lambda: world.start(clean=True))

    def _end(self) -> None:
        world = self.world
        world.countdown = 10**9
        world.let_all_go()
        for file in list(world.pieces):
            world.write_rest(file)
        world.readings = []
        if not self.is_up:
            world.start()
        self._rest()
        world.stop()
        world.check()
        before = world.state()
        world.clock.sleep(100)
        world.start(clean=True)
        world.come_to_rest()
        if world.state() != before:
            raise Violation("a second start changes something")
        world.killed()
        world.ledger.close()


def run(seed: int, prepare: Callable[[World], None] = lambda world: None) -> tuple[str, World]:
    """What one schedule broke, empty if nothing, and its world."""
    with temporary() as directory:
        schedule = Schedule(seed, Path(directory), prepare)
        try:
            schedule.run()
        except Violation as violation:
            return str(violation), schedule.world
        return "", schedule.world


def quietly(seed: int) -> tuple[int, str, list[str]]:
    """One schedule in a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    what, world = run(seed)
    return seed, what, world.log


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    started, broken, shortest = time.monotonic(), Counter[str](), dict[str, tuple[int, str, list[str]]]()
    with multiprocessing.Pool(arguments.jobs) as pool:
        seeds = range(arguments.seed, arguments.seed + arguments.count)
        for done, (seed, what, log) in enumerate(pool.imap_unordered(quietly, seeds), 1):
            if done % 500 == 0:
                print(f"{done} schedules so far, {broken.total()} violations", file=sys.stderr, flush=True)
            if what:
                kind = re.sub(r"\S*\d\S*", "_", what)[:70]
                broken[kind] += 1
                if kind not in shortest or len(log) < len(shortest[kind][2]):
                    shortest[kind] = seed, what, log
            elif arguments.count == 1:
                print("\n".join(log))
    for kind, times in broken.most_common():
        seed, what, log = shortest[kind]
        print(f"--- {times} times, seed {seed}: {what}")
        print("\n".join(log if arguments.count == 1 else log[-25:]))
    took = time.monotonic() - started
    print(f"{arguments.count} schedules, {broken.total()} violations, {took:.0f} s")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
