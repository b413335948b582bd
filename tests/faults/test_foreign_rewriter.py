"""A program that reads all, waits, and rewrites all loses none of our decisions, and keeps its own edits."""

from __future__ import annotations

import time

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree
from tests.faults.load import Load, candidates
from tests.faults.plain import read_plainly
from tests.faults.programs import Program, running
from tests.faults.support import WHOLE, rounds, whole_only
from tests.support import Json, Server, eventually, record, write_records

BASE = 300
ROUNDS = rounds(3, 100)
PAUSE_S = 10.0 if WHOLE else 6.0
"""Longer than the service waits for a writer that does nothing."""
GAP_S = 5.0 if WHOLE else 1.5
PER_S = 50
"""Decisions that go on beside the rewriter, each second."""


def base(server: Server, acks: Acks, own: int) -> list[Json]:
    """A candidates file of records to decide on, and of `own` ones, which are given: the other program edits them."""
    records = candidates(BASE, size=300)
    others = [record(f"own-{n:04d}") for n in range(own)]
    write_records(server.candidates, [*records, *others])
    acks.add(records)
    return others


@pytest.mark.timeout(ROUNDS * (GAP_S + 1) + 90)
def test_every_acknowledged_decision_outlives_stale_rewrites_and_their_own_edits_are_kept(
    victim: Server, acks: Acks
) -> None:
    others = base(victim, acks, ROUNDS)
    server = victim.start()
    program = Program(acks.seed, "rewrite", server.candidates, "--rounds", ROUNDS, "--gap-s", GAP_S)
    started = time.monotonic()
    with running(program), Load(acks, server.address, threads=2, pause_s=2 / PER_S * 0.8) as load:
        edits = program.report(timeout=ROUNDS * (GAP_S + 1) + 30)["edits"]
        decisions, took = load.acknowledged, time.monotonic() - started
    print(f"{len(edits)} rewrites, {decisions} decisions, {decisions / took:.0f} a second")
    assert len(edits) == ROUNDS and decisions >= 20 * ROUNDS
    acks.add(others)
    for id, value in edits.items():
        acks.edit(id, task_name=value)
    eventually(lambda: server.stats().total == len(acks.known))
    files_agree(acks, server.data)
    check(acks, server)
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)


@pytest.mark.parametrize("cut", [0.0, 0.4, 0.97])
@pytest.mark.parametrize("then", ["die", "pause"])
def test_a_rewriter_that_dies_or_pauses_half_way_deletes_nothing(
    victim: Server, acks: Acks, then: str, cut: float
) -> None:
    if (then, cut) != ("pause", 0.4):
        whole_only()
    others = base(victim, acks, 1)
    server = victim.start()
    how = ("--gap-s", 1, "--cut", cut, "--then", then, "--pause-s", PAUSE_S)
    program = Program(acks.seed, "rewrite", server.candidates, *how)
    with running(program), Load(acks, server.address, threads=2, pause_s=0.05) as load:
        load.wait_for(30)
        if then == "die":
            assert program.process.wait(timeout=60) == -9
        else:
            others[0] |= {"task_name": program.report(timeout=30)["edits"]["own-0000"]}
        assert load.acknowledged >= 30
    acks.add(others)

    def agree_but_for_pieces() -> bool:
        # Of a line that was cut, the pieces stay as malformed lines; no record is among them.
        pieces = read_plainly(server.candidates.read_bytes()).unreadable
        acks.kept_lines = [("candidates", piece) for piece in pieces]
        files_agree(acks, server.data, within=0)
        return len(pieces) <= 3

    eventually(agree_but_for_pieces)
    check(acks, server)
    assert server.stats().malformed == len(acks.kept_lines)
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)
