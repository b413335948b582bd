"""A kill at the n-th system call that writes: of a commit, an append, a patch, a swap, and of recovery."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, need, rounds
from tests.support import Server, eventually, write_records

CALLS = "fsync,fdatasync,rename,renameat2,unlink,link,ftruncate,pwrite64,copy_file_range"
KILLED = -9


def traced(server: Server, trace: Path, *flags: str) -> None:
    """From the next start on, the calls of CALLS are traced or tampered with."""
    server.prefix = ["strace", "-D", "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}", *flags]


def session(server: Server, acks: Acks) -> int | None:
    """Start, decide, keep the file open over a swap, stop; gives the exit code. It may end at any point."""
    try:
        server.start()
    except RuntimeError:
        return server.ended()
    with Load(acks, server.address, threads=2) as load:
        process = server.process
        eventually(lambda: load.acknowledged >= 25 or process.poll() is not None, within=60)
        inode = server.candidates.stat().st_ino
        with server.candidates.open("rb"):
            eventually(lambda: server.candidates.stat().st_ino != inode or process.poll() is not None, within=30)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return server.ended(within=60)


def test_nothing_is_lost_by_a_kill_at_the_nth_system_call_that_writes(
    victim: Server, acks: Acks, tmp_path: Path
) -> None:
    need("strace")
    write_records(victim.candidates, made := candidates(100))
    acks.add(made)
    trace = tmp_path / "trace"
    traced(victim, trace)
    assert session(victim, acks) == 0
    total = len(trace.read_text().splitlines())
    assert total > 50 and {"fdatasync", "renameat2", "pwrite64"} <= {_name(line) for line in trace.open()}
    dice = random.Random(acks.seed)
    chosen = sorted(dice.sample(range(1, total), rounds(short=2, whole=100)))
    fired = 0
    for when in list(range(1, 31)) + chosen if WHOLE else chosen:
        traced(victim, trace, "-e", f"inject={CALLS}:signal=KILL:when={when}")
        code = session(victim, acks)
        assert code in (KILLED, 0), f"at call {when} of {total}: exit {code}"
        fired += code == KILLED
        victim.prefix = []
        check(acks, victim.start())
        assert victim.stop() == 0
    assert fired >= len(chosen) // 2, "the kills came too late"
    assert acks.acknowledged >= 35
    check(acks, victim.start(), asked=100_000)


def _name(line: str) -> str:
    return line.split("(")[0].split()[-1]
