"""ListHistory: who changed what and when, of one record and of the store."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, make_run, record, write_records

pytestmark = pytest.mark.both_engines

UNKNOWN: Any = 99


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(4)])
    return stopped_server.start()


def history(server: Server, **fields: Any) -> list[pb.Change]:
    """All changes, page by page."""
    changes, token = list[pb.Change](), ""
    while True:
        page = server.stub.ListHistory(pb.ListHistoryRequest(page_token=token, **fields))
        changes += page.changes
        token = page.next_page_token
        if not token:
            return changes


def busy(server: Server) -> list[tuple[str, Any, str]]:
    """Changes of several kinds; gives (id, action, actor) of each in order."""
    server.correct("c0", "better", reviewer="ann")
    server.stub.Undo(pb.UndoRequest(id="c0", reviewer="bob"))
    server.stub.Submit(pb.SubmitRequest(id="c1", action=pb.ACTION_FLAG))
    id = server.ingest(pb.IngestRequest(source="kiwi", task_type="qa", prompt="p", correction="c")).id
    server.set_runs_directory()
    make_run(server.runs, "2026-01-01-000000", 3)
    server.stub.Import(pb.ImportRequest(run_id="2026-01-01-000000"))
    imported = [(f"2026-01-01-000000-000{n}", pb.CHANGE_ACTION_IMPORT, "") for n in range(3)]
    return [
        ("c0", pb.CHANGE_ACTION_CORRECT, "ann"),
        ("c0", pb.CHANGE_ACTION_UNDO, "bob"),
        ("c1", pb.CHANGE_ACTION_FLAG, ""),
        (id, pb.CHANGE_ACTION_INGEST, "ingestion-secret"),
        *imported,
    ]


def told(changes: list[pb.Change]) -> list[tuple[str, Any, str]]:
    return [(change.id, change.action, change.actor) for change in changes]


def test_a_change_says_who_did_what_to_which_keys(server: Server) -> None:
    before = time.time()
    server.correct("c0", "better", reviewer="ann", failure_category=pb.FAILURE_CATEGORY_HALLUCINATION)
    (change,) = history(server, id="c0")
    assert (change.id, change.action, change.actor) == ("c0", pb.CHANGE_ACTION_CORRECT, "ann")
    assert (change.status_before, change.status_after) == ("needs_review", "approved")
    assert (change.source, change.file) == (pb.CHANGE_SOURCE_SERVICE, pb.SHARED_FILE_CANDIDATES)
    assert change.revision == server.stats().revision
    assert before - 1 < change.at.ToMicroseconds() / 1e6 < time.time() + 1
    fields = {f.name: (f.before_json, f.after_json) for f in change.fields}
    assert fields.pop("reviewed_at")[0] == ""
    assert fields == {
        "status": ('"needs_review"', '"approved"'),
        "corrected_response": ("null", '"better"'),
        "failure_category": ("", '"hallucination"'),
        "reviewed_by": ("", '"ann"'),
    }
    (undone, _) = (server.stub.Undo(pb.UndoRequest(id="c0")), None)
    newest = history(server, id="c0")[0]
    back = {f.name: (f.before_json, f.after_json) for f in newest.fields}
    assert back["reviewed_by"] == ('"ann"', "") and back["corrected_response"] == ('"better"', "null")
    assert undone.candidate.revision == newest.revision


def test_the_store_s_history_is_newest_first_and_has_names_alone(server: Server) -> None:
    expected = busy(server)
    found = history(server)
    assert told(found) == expected[::-1]
    assert told(history(server, oldest_first=True)) == expected
    assert found[-1].fields and not any(f.before_json or f.after_json for change in found for f in change.fields)
    assert not found[0].fields


@pytest.mark.parametrize("page_size", [1, 2, 500])
@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_have_each_change_once_whatever_their_size(server: Server, page_size: int, oldest_first: bool) -> None:
    expected = busy(server)
    found = told(history(server, page_size=page_size, oldest_first=oldest_first))
    assert found == (expected if oldest_first else expected[::-1])


def test_since_revision_is_exact(server: Server) -> None:
    busy(server)
    whole = history(server, oldest_first=True)
    for change in whole:
        later = [c for c in whole if c.revision > change.revision]
        assert history(server, since_revision=change.revision, oldest_first=True) == later
        assert history(server, since_revision=change.revision, page_size=2) == later[::-1]
        of_one = [c for c in later if c.id == "c0"]
        assert told(history(server, since_revision=change.revision, id="c0")) == told(of_one[::-1])


def test_actors_and_actions_choose(server: Server) -> None:
    busy(server)
    assert told(history(server, actors=["ann", "bob"], page_size=1)) == [
        ("c0", pb.CHANGE_ACTION_UNDO, "bob"),
        ("c0", pb.CHANGE_ACTION_CORRECT, "ann"),
    ]
    imports = history(server, actions=[pb.CHANGE_ACTION_IMPORT], page_size=2, oldest_first=True)
    assert [change.id[-1] for change in imports] == ["0", "1", "2"]
    assert len({change.revision for change in imports}) == 1
    assert history(server, actors=["ann"], actions=[pb.CHANGE_ACTION_UNDO]) == []


def test_an_unknown_id_has_no_changes(server: Server) -> None:
    assert history(server, id="nobody") == []


def test_changes_that_come_meanwhile_disturb_no_listing(server: Server) -> None:
    expected = busy(server)
    first = server.stub.ListHistory(pb.ListHistoryRequest(page_size=2))
    server.stub.Submit(pb.SubmitRequest(id="c2", action=pb.ACTION_DISCARD))
    rest = server.stub.ListHistory(pb.ListHistoryRequest(page_token=first.next_page_token, page_size=500))
    assert told([*first.changes, *rest.changes]) == expected[::-1]


def test_a_page_of_large_values_ends_at_3_mb(server: Server) -> None:
    for n in range(4):
        server.correct("c0", "x" * 1_000_000 + str(n))
        server.stub.Undo(pb.UndoRequest(id="c0"))
    pages, token = list[pb.ListHistoryResponse](), ""
    for _ in itertools.count():
        page = server.stub.ListHistory(pb.ListHistoryRequest(id="c0", page_token=token))
        pages.append(page)
        if not (token := page.next_page_token):
            break
    assert sum(len(page.changes) for page in pages) == 8
    assert len(pages) > 1 and all(page.ByteSize() < 3_100_000 for page in pages)
    whole = server.stub.ListHistory(pb.ListHistoryRequest())
    assert len(whole.changes) == 8 and whole.ByteSize() < 10_000


def test_a_change_of_very_many_keys_still_has_all_their_names(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("a", **{f"{'k' * 30}{n}": n for n in range(400)})])
    server = stopped_server.start()
    server.correct("a")
    assert {"status", "reviewed_at"} < {field.name for field in history(server)[0].fields}


def test_half_a_character_in_a_value_is_replaced(stopped_server: Server) -> None:
    half = record("c0", failure_category="\ud83d", corrected_response={"text\udfff": ["half \ud800", "\U0001f600"]})
    write_records(stopped_server.candidates, [half])
    server = stopped_server.start()
    server.correct("c0")
    (change,) = history(server, id="c0", actions=[pb.CHANGE_ACTION_CORRECT])
    before = {field.name: json.loads(field.before_json) for field in change.fields if field.before_json}
    assert before["failure_category"] == "\ufffd"
    assert before["corrected_response"] == {"text\ufffd": ["half \ufffd", "\U0001f600"]}


def test_values_that_are_no_strict_json_are_kept_in_python_s_dialect(stopped_server: Server) -> None:
    stopped_server.candidates.write_text('{"id": "a", "status": "needs_review", "corrected_response": NaN}\n')
    server = stopped_server.start()
    server.correct("a")
    field = next(f for f in history(server, id="a")[0].fields if f.name == "corrected_response")
    assert field.before_json == "NaN" and json.loads(field.after_json) == "better"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListHistoryRequest(id="x" * 513), "id"),
        (pb.ListHistoryRequest(since_revision=-1), "since_revision"),
        (pb.ListHistoryRequest(since_revision=2**62), "since_revision"),
        (pb.ListHistoryRequest(actions=[pb.CHANGE_ACTION_UNSPECIFIED]), "actions[0]"),
        (pb.ListHistoryRequest(actions=[pb.CHANGE_ACTION_CORRECT, UNKNOWN]), "actions[1]"),
        (pb.ListHistoryRequest(actors=["x"] * 1_001), "actors"),
        (pb.ListHistoryRequest(actors=["x" * 1_001]), "actors[0]"),
        (pb.ListHistoryRequest(page_size=-1), "page_size"),
        (pb.ListHistoryRequest(page_token="x"), "page_token"),
    ],
)
def test_what_no_history_can_mean_is_refused_by_its_field(quiet_server: Server, request_: Any, field: str) -> None:
    failure = failure_of(lambda: quiet_server.stub.ListHistory(request_))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]


def test_a_revision_of_an_earlier_ledger_is_expired(quiet_server: Server) -> None:
    failure = failure_of(lambda: quiet_server.stub.ListHistory(pb.ListHistoryRequest(since_revision=5)))
    assert failure.reason == "REVISION_EXPIRED"


def test_a_token_goes_with_the_request_that_it_came_from_alone(server: Server) -> None:
    busy(server)
    token = server.stub.ListHistory(pb.ListHistoryRequest(page_size=1)).next_page_token
    for other in ({"id": "c0"}, {"oldest_first": True}, {"actors": ["ann"]}, {"actions": [1]}):
        request = pb.ListHistoryRequest(page_token=token, **other)
        assert failure_of(lambda r=request: server.stub.ListHistory(r)).fields == ["page_token"]
