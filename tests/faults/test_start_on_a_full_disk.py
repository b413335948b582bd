"""A start on a full disk serves what the ledger has, and takes writes once there is room."""

from __future__ import annotations

import os

import pytest

from tests.faults.acks import Acks
from tests.faults.check import answers, check
from tests.faults.load import Load, candidates
from tests.faults.support import mounted, need
from tests.support import Server, write_records


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_start_on_a_full_disk_serves_reads_and_goes_on_when_there_is_room(
    victim: Server, acks: Acks, end: str
) -> None:
    need("root")
    with mounted(victim.data, "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        write_records(victim.candidates, made := candidates(100))
        acks.add(made)
        with Load(acks, victim.start().address) as load:
            load.wait_for(60)
        check(acks, victim)
        if end == "stop":
            assert victim.stop() == 0
        else:
            victim.kill()
        ballast = victim.data / "ballast"
        fill(ballast.as_posix())
        victim.start()
        assert list(answers(acks.known.values(), victim)) == []
        assert victim.stats().total == len(acks.known)
        ballast.unlink()
        with Load(acks, victim.address, persistent=True) as load:
            load.wait_for(30)
        check(acks, victim)
        assert victim.stop() == 0
        check(acks, victim.start())
        victim.kill()


def fill(path: str) -> None:
    """Take all the room there is."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    size = 64 * 1024
    while size:
        try:
            os.write(descriptor, bytes(size))
        except OSError:
            size //= 2
    os.close(descriptor)
