"""A program that reads all, waits, and rewrites all loses none of our decisions, and keeps its own edits."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.amounts import rounds
from tests.faults.deciders import Decider, differences
from tests.faults.plain import read_plainly
from tests.faults.programs import Program, running
from tests.support import Server, eventually, record, write_records

SEED = 12
BASE = 300
ROUNDS = rounds(6, 100)
GAP_S = rounds(2, 5)


def base(server: Server, own: int) -> list[str]:
    """A candidates file of records to decide on, and of `own` ones that the other program edits; gives the former."""
    ids = [f"c{n:04d}" for n in range(BASE)]
    others = [f"own-{n:04d}" for n in range(own)]
    write_records(server.candidates, [record(id, model_response="x" * 300) for id in [*ids, *others]])
    return ids


def edits_missing(server: Server, edits: dict[str, str]) -> list[str]:
    """The rewriter's own edits that the file, or the service, does not have."""
    found = read_plainly(server.candidates.read_bytes()).records
    wrong = [f"{id} in the file" for id, value in edits.items() if found[id]["task_name"] != value]
    for id, value in edits.items():
        candidate = server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate
        if candidate.task_name != value:
            wrong.append(f"{id} is {candidate.task_name!r} in the service, not {value!r}")
    return wrong


@pytest.mark.timeout(ROUNDS * (GAP_S + 1) + 90)
def test_every_acknowledged_decision_outlives_stale_rewrites_and_their_own_edits_are_kept(
    stopped_server: Server,
) -> None:
    ids = base(stopped_server, ROUNDS)
    server = stopped_server.start()
    deciders = [Decider(server, ids[n::2], SEED + n, per_s=25) for n in range(2)]
    program = Program(SEED, "rewrite", server.candidates, "--rounds", ROUNDS, "--gap-s", GAP_S)
    with running(program):
        for decider in deciders:
            decider.start()
        started = time.monotonic()
        edits = program.report(timeout=ROUNDS * (GAP_S + 1) + 30)["edits"]
        took = time.monotonic() - started
        acknowledged = sum(decider.acknowledged for decider in deciders)
        for decider in deciders:
            decider.end()
    state = {id: each for decider in deciders for id, each in decider.state.items()}
    print(f"seed {SEED}: {len(edits)} rewrites, {acknowledged} decisions, {acknowledged / took:.0f}/s")
    assert [failure for decider in deciders for failure in decider.failed] == []
    assert len(edits) == ROUNDS and acknowledged > 20 * ROUNDS
    eventually(lambda: differences(server, state) == [], within=10)
    assert edits_missing(server, edits) == []
    assert server.stop() == 0
    assert differences(server, state) == []


@pytest.mark.parametrize("cut", [0.0, 0.4, 0.97])
@pytest.mark.parametrize("then", ["die", "pause"])
def test_a_rewriter_that_dies_or_pauses_half_way_deletes_nothing(
    stopped_server: Server, then: str, cut: float
) -> None:
    ids = base(stopped_server, 1)
    server = stopped_server.start()
    decider = Decider(server, ids, SEED, per_s=25)
    decider.start()
    eventually(lambda: decider.acknowledged > 30, within=10)
    program = Program(SEED, "rewrite", server.candidates, "--gap-s", 1, "--cut", cut, "--then", then)
    with running(program):
        if then == "die":
            assert program.process.wait(timeout=10) == -9
        else:
            program.report(timeout=20)
        at_the_end = decider.acknowledged
        decider.end()
    assert at_the_end > 30 and decider.failed == []
    eventually(lambda: differences(server, decider.state) == [], within=12)
    assert len(read_plainly(server.candidates.read_bytes()).ids) == BASE + 1
    stats = server.stats()
    assert stats.total == BASE + 1
    assert server.stop() == 0
    assert differences(server, decider.state) == []


def test_an_edit_a_deletion_and_an_addition_by_hand_are_accepted_while_it_runs(stopped_server: Server) -> None:
    base(stopped_server, 0)
    server = stopped_server.start()
    server.correct("c0005", "ours")
    eventually(lambda: b"ours" in server.candidates.read_bytes())
    edit_delete_and_add(server.candidates)
    eventually(lambda: name_of(server, "c0001") == "edited by hand" and name_of(server, "added") == "Blue sky", within=3)
    eventually(lambda: server.stats().total == BASE, within=14)
    decided_is_kept_and_history_tells(server)


def test_an_edit_a_deletion_and_an_addition_by_hand_are_accepted_at_the_start(stopped_server: Server) -> None:
    base(stopped_server, 0)
    server = stopped_server.start()
    server.correct("c0005", "ours")
    assert server.stop() == 0
    edit_delete_and_add(server.candidates)
    server.start()
    assert name_of(server, "c0001") == "edited by hand" and name_of(server, "added") == "Blue sky"
    decided_is_kept_and_history_tells(server)


def edit_delete_and_add(path: Path) -> None:
    """What a person does in an editor: the file is read, changed, and written whole."""
    records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    for one in records:
        if one["id"] == "c0001":
            one["task_name"] = "edited by hand"
    write_records(path, [*(one for one in records if one["id"] != "c0002"), record("added")])


def name_of(server: Server, id: str) -> str:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.task_name


def decided_is_kept_and_history_tells(server: Server) -> None:
    assert server.stats().total == BASE
    found = read_plainly(server.candidates.read_bytes())
    assert "c0002" not in found.ids and found.ids["c0001"] == found.ids["added"] == 1
    assert found.records["c0005"]["corrected_response"] == "ours"
    assert history(server, "c0001") == [("edit", "external")]
    assert history(server, "c0002") == [("delete", "external")]
    assert history(server, "added") == [("import", "external")]
    assert server.stop() == 0
    assert "c0002" not in read_plainly(server.candidates.read_bytes()).ids


def history(server: Server, id: str) -> list[tuple[str, str]]:
    """What the ledger's history says of a record: (action, actor), oldest first."""
    import sqlite3

    with sqlite3.connect(server.data / ".avocet" / "ledger.db") as db:
        query = "SELECT action, actor FROM history WHERE id = ? ORDER BY revision"
        return [(action, actor) for action, actor in db.execute(query, (id,))]
