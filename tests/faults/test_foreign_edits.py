"""What a person does to the files by hand is accepted, served and in the history, while the service runs or not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Source
from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, get, history_of
from tests.faults.load import Caller, candidates
from tests.support import Server, eventually, record, write_records

COUNT = 50
ADDED = record("added", task_name="added by hand")


@pytest.fixture
def decided(victim: Server, acks: Acks) -> Server:
    """A running server with a decision that has reached the files."""
    write_records(victim.candidates, made := candidates(COUNT))
    acks.add(made)
    caller = Caller(acks, victim.start().address)
    assert caller.submit("correct", acks.known["c00005"]) and caller.submit("flag", acks.known["c00006"])
    files_agree(acks, victim.data)
    return victim


def edit_delete_and_add(path: Path) -> None:
    """What an editor does: the file is read, one record changed, one taken out, one added, and written whole."""
    contents = [json.loads(line) for line in path.read_text().split("\n") if line.strip()]
    for content in contents:
        if content["id"] == "c00001":
            content["task_name"] = "edited by hand"
    write_records(path, [*(content for content in contents if content["id"] != "c00002"), ADDED])


def all_three_are_accepted(server: Server, acks: Acks) -> None:
    check(acks, server)
    with history_of(server.data) as history:
        for id, action in (("c00001", "edit"), ("c00002", "remove"), ("added", "add")):
            assert [(entry.action, entry.source) for entry in history.history(id)] == [(action, Source.EXTERNAL)]
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)


def note_what_was_done(acks: Acks) -> None:
    acks.edit("c00001", task_name="edited by hand")
    acks.drop("c00002")
    acks.add([ADDED])


def test_an_edit_a_deletion_and_an_addition_are_accepted_while_it_runs(decided: Server, acks: Acks) -> None:
    edit_delete_and_add(decided.candidates)
    eventually(lambda: get(decided, "added"))
    note_what_was_done(acks)
    # A record that is missing counts as deleted only once the file has been still for 10 s.
    eventually(lambda: decided.stats().total == COUNT)
    all_three_are_accepted(decided, acks)


def test_an_edit_a_deletion_and_an_addition_are_accepted_at_the_start(decided: Server, acks: Acks) -> None:
    assert decided.stop() == 0
    edit_delete_and_add(decided.candidates)
    note_what_was_done(acks)
    all_three_are_accepted(decided.start(), acks)


def test_a_record_of_ours_that_a_rewrite_lacks_is_put_back_while_it_is_fresh(decided: Server, acks: Acks) -> None:
    contents = [json.loads(line) for line in decided.candidates.read_text().split("\n") if line.strip()]
    caller = Caller(acks, decided.address)
    assert caller.ingest()
    files_agree(acks, decided.data)
    write_records(decided.candidates, contents)
    files_agree(acks, decided.data)
    check(acks, decided)


def test_an_approved_line_that_others_edit_is_exported_as_it_is_now(decided: Server, acks: Acks) -> None:
    before = decided.stats().revision
    text = decided.approved.read_text()
    (exported,) = (e for r in decided.stub.StreamExport(pb.StreamExportRequest()) for e in r.examples)
    beside = decided.approved.with_suffix(".new")
    write_records(beside, [json.loads(text) | {"corrected_response": "by another hand"}])
    # Who writes over our words within a minute may not have read them; this is a minute later. The file comes with that
    # time: a look in between would take the edit for an early one.
    os.utime(beside, (time.time() + 61, time.time() + 61))
    beside.replace(decided.approved)

    def edited() -> bool:
        request = pb.StreamExportRequest(since_revision=before)
        examples = [e for r in decided.stub.StreamExport(request) for e in r.examples]
        return [(e.id, e.messages[-1].content) for e in examples] == [(exported.id, "by another hand")]

    eventually(edited)
    assert decided.stop() == 0
    assert json.loads(decided.approved.read_text())["corrected_response"] == "by another hand"
