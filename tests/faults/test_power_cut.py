"""Power cuts: what a loop device's image holds at one moment is all that the next start gets."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import Load, candidates
from tests.faults.support import ext4, mounted, need, rounds, run
from tests.support import Server, write_records


def test_nothing_acknowledged_is_lost_over_power_cuts_under_load(victim: Server, acks: Acks, tmp_path: Path) -> None:
    """What was acknowledged before the copy must be in it; what was under way may be."""
    need("root", "loop")
    dice = random.Random(acks.seed)
    image, copy = tmp_path / "image", tmp_path / "copy"
    with ext4(victim.data, image):
        write_records(victim.candidates, made := candidates(300))
        acks.add(made)
        victim.start()
        assert victim.stop() == 0
    for number in range(rounds(short=1, whole=50)):
        with mounted(victim.data, "-o", "loop", str(image)):
            victim.start()
            if number:
                check(acks, victim)
            with Load(acks, victim.address) as load:
                wanted = dice.randrange(20, 200)
                load.wait_for(wanted)
                victim.signal_all(signal.SIGSTOP)
                run("cp", "--sparse=always", str(image), str(copy))
                victim.kill()
            assert load.acknowledged >= wanted
        copy.replace(image)
    with mounted(victim.data, "-o", "loop", str(image)):
        check(acks, victim.start(), asked=100_000)
        assert victim.stop() == 0
        check(acks, victim.start(), asked=100_000)
        victim.kill()


def test_the_copy_lacks_what_was_not_synced_so_that_the_cut_is_one(tmp_path: Path) -> None:
    """The proof that this fault fires: a write without a sync is not in the copy, one with a sync is."""
    need("root", "loop")
    where, image, copy = tmp_path / "disk", tmp_path / "image", tmp_path / "copy"
    with ext4(where, image):
        (where / "unsynced").write_bytes(b"x" * 100_000)
        synced = where / "synced"
        subprocess.run(["dd", "if=/dev/zero", f"of={synced}", "bs=1000", "count=1", "conv=fsync"], check=True)
        (where / "unsynced").write_bytes(b"y" * 100_000)
        run("cp", "--sparse=always", str(image), str(copy))
    with mounted(where, "-o", "loop", str(copy)):
        assert synced.stat().st_size == 1000
        assert b"y" not in (where / "unsynced").read_bytes()
