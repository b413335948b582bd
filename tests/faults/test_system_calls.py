"""A kill at the n-th system call that changes a file: of recovery, a commit, an append, a patch, a swap, and a stop."""

from __future__ import annotations

import random
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, need, rounds, run, whole_only
from tests.support import Server, eventually, write_records

KILLED = -9
PARTS = 3
SOURCE = Path(__file__).with_name("killer.c")


class Killer:
    """The library that kills the server before a call; `pages`: of the ledger's own pages, else any other."""

    def __init__(self, server: Server, pages: bool) -> None:
        self.server, self.pages = server, pages
        self.log, self._count = server.directory / "calls", server.directory / "count"
        self._library = server.directory / "killer.so"
        run("gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl")

    def arm(self, when: int) -> None:
        """From the next start on the calls are counted, and the server dies before this one; 0: before none."""
        for path in (self.log, self._count):
            path.unlink(missing_ok=True)
        self.server.environment = {
            "LD_PRELOAD": str(self._library),
            "KILLER_BELOW": f"{self.server.data}",
            "KILLER_LOG": str(self.log),
            "KILLER_COUNT": str(self._count),
            "KILLER_WHEN": str(when),
        } | ({"KILLER_PAGES": "1"} if self.pages else {})

    def disarm(self) -> None:
        self.server.environment = {}

    def seen(self) -> list[str]:
        """The calls of the last start, in order: name and file."""
        found = (line.split(" ", 2) for line in self.log.read_text().splitlines())
        return [f"{call} {re.sub(r'[.][0-9]+[.]', '.N.', Path(path).name)}" for _, call, path in found]


def session(server: Server, acks: Acks) -> int | None:
    """Start, decide, keep the file open over a swap, stop; gives the exit code. It may end at any point."""
    try:
        server.start()
    except RuntimeError:
        return server.ended()
    with Load(acks, server.address, threads=1, pause_s=0.05) as load:
        work_over_a_swap(server, load)
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGTERM)
        return server.ended(within=60)


def work_over_a_swap(server: Server, load: Load) -> None:
    """Patches and appends, then a swap, or the server's end."""
    process = server.process
    eventually(lambda: load.acknowledged >= 5 or process.poll() is not None, within=60)
    inode = server.candidates.stat().st_ino
    with server.candidates.open("rb"):
        eventually(lambda: server.candidates.stat().st_ino != inode or process.poll() is not None, within=30)


def leave_unfinished(server: Server, acks: Acks) -> None:
    """Killed right after a swap, under load: the next start has to recover."""
    with Load(acks, server.address, threads=1, pause_s=0.05) as load:
        work_over_a_swap(server, load)
        server.process.kill()
        assert server.ended() == KILLED


def prepare(victim: Server, acks: Acks, pages: bool) -> tuple[Killer, list[str]]:
    """A running server, and what calls a session makes that begins with a recovery."""
    write_records(victim.candidates, made := candidates(100))
    acks.add(made)
    killer = Killer(victim, pages)
    leave_unfinished(victim.start(), acks)
    killer.arm(0)
    assert session(victim, acks) == 0
    killer.disarm()
    victim.start()
    return killer, killer.seen()


def kill_at(victim: Server, acks: Acks, killer: Killer, when: int) -> str | None:
    """The call before which it was killed; None where the session made fewer. All is well after either."""
    leave_unfinished(victim, acks)
    killer.arm(when)
    code = session(victim, acks)
    killer.disarm()
    assert code in (KILLED, 0), f"at call {when}: exit {code}"
    check(acks, victim.start())
    return killer.seen()[-1] if code == KILLED else None


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_by_a_kill_at_the_nth_system_call_that_writes(victim: Server, acks: Acks, part: int) -> None:
    need("gcc")
    if part:
        whole_only()
    killer, calls = prepare(victim, acks, pages=False)
    names = {call.split()[0] for call in calls}
    assert {"fsync", "fdatasync", "renameat2", "rename", "unlink", "write", "pwrite", "copy_file_range"} <= names
    every = range(1 + part, len(calls) + 1, PARTS)
    whens = every if WHOLE else [random.Random(acks.seed).randrange(1, len(calls) * 2 // 3)]
    killed_at = Counter(kill_at(victim, acks, killer, when) or "none" for when in whens)
    report(killed_at, calls, acks)
    assert killed_at["none"] <= len(whens) / 2, "the kills came too late"
    assert acks.acknowledged >= 20
    check(acks, victim, asked=100_000)
    assert victim.stop() == 0


def test_nothing_is_lost_by_a_kill_at_some_write_of_the_ledgers_pages(victim: Server, acks: Acks) -> None:
    whole_only()
    need("gcc")
    killer, calls = prepare(victim, acks, pages=True)
    dice = random.Random(acks.seed)
    whens = sorted(dice.sample(range(1, len(calls) * 2 // 3), rounds(short=2, whole=40)))
    killed_at = Counter(kill_at(victim, acks, killer, when) or "none" for when in whens)
    report(killed_at, calls, acks)
    assert killed_at["none"] <= len(whens) / 2, "the kills came too late"
    check(acks, victim, asked=100_000)
    assert victim.stop() == 0


def report(killed_at: Counter[str], calls: list[str], acks: Acks) -> None:
    killed = killed_at.total() - killed_at["none"]
    print(f"{len(calls)} calls in a session, killed before {killed} of them, one by one:")
    print(", ".join(f"{call} {times}" for call, times in killed_at.most_common()))
    print(f"{acks.acknowledged} changes acknowledged, {acks.unknown} unknown")
