"""What cannot be sent: too long a request, half a character. Both services, both clients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client import CandidateFilter, Correction, Decision, InvalidField, RequestTooLarge, TransportError
from tests.client.conftest import Make, Start
from tests.operate.support import limited
from tests.support import SECRET, Server, record

HALF = "a\ud800"
LONG = "\U0001f600" * 3_000_000
FIELDS: dict[str, Any] = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "correction": "2"}
TOO_LONG: dict[str, Any] = {"prompt": LONG, "response": LONG}
"""Each is within its own limit, and both together are not within that of a request."""
NARROW = CandidateFilter(task_types=["x", HALF])
TEXTS: dict[str, tuple[Callable[..., Any], str]] = {
    "a run": (lambda c: c.import_run(HALF), "run_id"),
    "a page of runs": (lambda c: c.list_runs(page_token=HALF), "page_token"),
    "a reviewer of the queue": (lambda c: c.queue(reviewer=HALF), "reviewer"),
    "a filter": (lambda c: c.queue(filter=NARROW), "filter.task_types[1]"),
    "a filter of statistics": (lambda c: c.stats(filter=NARROW), "filter.task_types[1]"),
    "an id": (lambda c: c.get_candidate(HALF), "id"),
    "an id to decide": (lambda c: c.submit(HALF, action="flag"), "id"),
    "a response": (lambda c: c.submit("a", action="correct", corrected_response=HALF), "corrected_response"),
    "a message": (
        lambda c: c.submit("a", action="correct", corrected_message={"content": HALF}),
        "corrected_message.content",
    ),
    "a message's call": (
        lambda c: c.submit("a", action="correct", corrected_message={"tool_calls": [{"id": HALF}]}),
        "corrected_message.extra_json",
    ),
    "a request id": (lambda c: c.submit("a", action="flag", request_id=HALF), "request_id"),
    "an id to undo": (lambda c: c.undo(HALF), "id"),
    "a directory": (lambda c: c.set_config(bench_results_dir=f"/{HALF}"), "config.bench_results_dir"),
    "a correction": (lambda c: c.ingest(**FIELDS | {"correction": HALF}), "correction"),
    "a label": (lambda c: c.ingest(**FIELDS, label=HALF), "label"),
    "a text to look for": (lambda c: c.list_candidates(text=HALF), "text"),
    "a text of many pages": (lambda c: list(c.candidates(text=HALF)), "text"),
    "an actor": (lambda c: c.list_history(actors=["kim", HALF]), "actors[1]"),
    "a reviewer who claims": (lambda c: c.claim(reviewer=HALF), "reviewer"),
    "a reviewer who holds": (lambda c: c.hold(reviewer=HALF), "reviewer"),
    "a lease to renew": (lambda c: c.renew_claims(iter(["x", HALF])), "lease_ids[1]"),
    "a lease to release": (lambda c: c.release_claims(iter([HALF])), "lease_ids[0]"),
    "a name": (lambda c: c.create_snapshot(HALF), "name"),
    "a note": (lambda c: c.create_snapshot("s", note=HALF), "note"),
    "a snapshot": (lambda c: c.get_snapshot(HALF), "name"),
    "a snapshot to delete": (lambda c: c.delete_snapshot(HALF), "name"),
    "a page of snapshots": (lambda c: c.list_snapshots(page_token=HALF), "page_token"),
    "a snapshot to export": (lambda c: next(c.export(snapshot=HALF)), "snapshot"),
    "a filter of an export": (lambda c: next(c.export(filter=NARROW)), "filter.task_types[1]"),
    "a filter of a watch": (lambda c: next(c.watch(filter=NARROW)), "filter.task_types[1]"),
    "the request id of a batch": (
        lambda c: c.submit_many([Decision(id="a", action="flag")], request_id=HALF),
        "request_id",
    ),
    "a run that is sent": (lambda c: c.upload_run(__file__, run_id=HALF), "run_id"),
    "a service": (lambda c: c.health(service=HALF), "service"),
}


def test_half_a_character_is_refused_by_the_name_of_its_field_in_every_call(start: Start) -> None:
    client = start(record("a"))
    before = client.stats()
    for name, (attempt, field) in TEXTS.items():
        with pytest.raises(InvalidField) as caught:
            attempt(client)
        assert [violation.field for violation in caught.value.field_violations] == [field], name
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT and field in str(caught.value), name
    assert client.stats() == before


def test_an_error_of_half_a_character_has_the_request_id_of_its_write(start: Start) -> None:
    with pytest.raises(InvalidField) as caught:
        start().ingest(**FIELDS | {"prompt": HALF}, request_id="mine")
    assert (caught.value.request_id, caught.value.reason) == ("mine", "")
    assert r"'a\ud800' cannot be sent as text" in str(caught.value)


def test_too_long_a_request_is_refused_for_good(start: Start) -> None:
    client = start(record("a"))
    before = client.stats()
    attempts: list[Callable[[], Any]] = [
        lambda: client.ingest(**FIELDS | TOO_LONG, request_id="mine"),
        lambda: client.submit("a", action="correct", corrected_message={"content": LONG, "x": LONG}, request_id="mine"),
        lambda: client.list_candidates(text=LONG),
        lambda: next(client.export(filter=CandidateFilter(labels=[LONG]))),
        lambda: next(client.watch(filter=CandidateFilter(labels=[LONG]))),
        lambda: client.upload_run(__file__, run_id=LONG * 2),
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises(RequestTooLarge) as caught:
            attempt()
        assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED and caught.value.reason == ""
        assert not isinstance(caught.value, TransportError)
        assert caught.value.request_id == ("mine" if number < 2 else "")
    assert client.stats() == before


def test_a_bulk_ingest_refuses_what_cannot_be_sent_and_stores_every_other_one_once(start: Start) -> None:
    client = start()
    wrong: dict[int, dict[str, Any]] = {0: {"prompt": HALF}, 500: TOO_LONG, 501: {"label": HALF}, 1_009: TOO_LONG}
    wrong |= {number: {"source": HALF} for number in range(600, 800)}
    stated = [Correction(**FIELDS | {"prompt": f"p{n}"} | wrong.get(n, {}), request_id=f"r{n}") for n in range(1_010)]
    results = list(client.ingest_many(stated))
    assert [(each.index, each.correction) for each in results] == list(enumerate(stated))
    errors = {each.index: each.error for each in results if each.error}
    assert sorted(errors) == sorted(wrong)
    assert {number for number, error in errors.items() if isinstance(error, RequestTooLarge)} == {500, 1_009}
    assert [violation.field for violation in errors[501].field_violations] == ["label"]
    assert all(error.request_id == f"r{number}" for number, error in errors.items())
    assert all(each.created and each.id for each in results if not each.error)
    assert client.stats().total == len({each.id for each in results if not each.error}) == len(stated) - len(wrong)
    assert not any(each.created for each in client.ingest_many(stated)), "what was stored is not stored again"


def test_a_bulk_ingest_of_nothing_that_can_be_sent_has_a_result_for_each(start: Start) -> None:
    client = start()
    results = list(client.ingest_many([Correction(**FIELDS | {"prompt": HALF})] * 3))
    assert [type(each.error) for each in results] == [InvalidField] * 3
    assert client.stats().total == 0


def test_a_batch_refuses_what_cannot_be_sent_and_decides_every_other_one_once(start: Start) -> None:
    ids = [f"c{number:04d}" for number in range(1_002)]
    client = start(*(record(id) for id in ids))
    long = {"content": LONG, "x": "y" * 5_000_000}
    decisions = [Decision(id=id, action="flag") for id in ids]
    decisions[0] = Decision(id=ids[0], action="correct", corrected_response=HALF)
    decisions[499] = Decision(id=ids[499], action="correct", corrected_message=long)
    decisions[1_001] = Decision(id=HALF, action="flag")
    results = client.submit_many(decisions, request_id="r")
    assert [each.id for each in results] == [decision.id for decision in decisions]
    assert {n: type(each.error) for n, each in enumerate(results) if each.error} == {
        0: InvalidField,
        499: RequestTooLarge,
        1_001: InvalidField,
    }
    assert [violation.field for violation in results[0].error.field_violations] == ["corrected_response"]
    assert results[0].error.request_id == results[499].error.request_id == ""
    assert client.stats().by_status == {"needs_review": 3, "model_rejected": 999}
    again = client.submit_many(decisions, request_id="r")
    assert [(each.revision, type(each.error)) for each in again] == [(e.revision, type(e.error)) for e in results]
    assert [type(each.error) for each in client.submit_many(decisions[:1])] == [InvalidField]


def test_a_server_that_takes_less_refuses_a_long_request_for_good(make_client: Make, tmp_path: Path) -> None:
    server = limited(Server(tmp_path), message_bytes=100_000)
    try:
        client = make_client(server.address, token=SECRET)
        with pytest.raises(RequestTooLarge) as caught:
            client.ingest(**FIELDS | {"prompt": "x" * 200_000}, request_id="mine")
        assert not isinstance(caught.value, TransportError) and caught.value.request_id == "mine"
        assert server.stats().total == 0
    finally:
        server.kill()
