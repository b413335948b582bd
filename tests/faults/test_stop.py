"""SIGTERM under load, and a second server beside the first."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, settle
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, rounds
from tests.support import Server, write_records

EXIT_CANNOT_START = 1
EXIT_TAKEN = 3


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT] if WHOLE else [signal.SIGTERM])
def test_a_stop_under_load_answers_what_is_under_way_and_leaves_the_files_up_to_date(
    victim: Server, acks: Acks, name: signal.Signals
) -> None:
    write_records(victim.candidates, made := candidates(300))
    acks.add(made)
    for _ in range(rounds(short=1, whole=25)):
        victim.start()
        with Load(acks, victim.address, threads=8) as load:
            load.wait_for(100)
            victim.process.send_signal(name)
            assert victim.ended(within=60) == 0
        doubts = [known for known in acks.known.values() if known.doubt is not None]
        changes = {id(known): len(known.changes) for known in doubts}
        before = len(acks.known)
        victim.start()
        settle(acks, victim)
        assert all(len(known.changes) == changes[id(known)] for known in doubts), "made, and not answered"
        assert len(acks.known) == before, "made, and not answered"
        check(acks, victim)
        assert victim.stop() == 0
        files_agree(acks, victim.data, within=0)


def test_a_second_server_on_the_data_directory_ends_and_the_first_goes_on(
    victim: Server, acks: Acks, tmp_path: Path
) -> None:
    write_records(victim.candidates, made := candidates(100))
    acks.add(made)
    victim.start()
    with Load(acks, victim.address) as load:
        load.wait_for(20)
        for number in range(2):
            second = victim.spawn(tmp_path / f"second-{number}.log")
            assert second.wait(timeout=30) == EXIT_TAKEN
            (line,) = (tmp_path / f"second-{number}.log").read_text().splitlines()
            assert victim.address in line
        load.wait_for(60)
    check(acks, victim, asked=1_000)


def test_a_port_is_not_shared_with_a_second_server(victim: Server, tmp_path: Path) -> None:
    victim.start()
    other = Server(tmp_path / "other")
    other.listen = victim.address
    process = other.spawn(tmp_path / "refused.log")
    assert process.wait(timeout=30) == EXIT_CANNOT_START
    (line,) = (tmp_path / "refused.log").read_text().splitlines()
    assert f"cannot listen on {victim.address}" in line
