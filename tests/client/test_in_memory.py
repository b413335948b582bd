"""The in-memory service: it refuses as the server does, and does what a test asks of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import avocet_client
import avocet_client.errors
from avocet_client import CandidateFilter, CorrectionsClient, status_word
from avocet_client.testing import Service
from avocet_client.testing.refusals import CODES
from avocet_client.v1 import corrections_pb2 as pb
from tests.support import SECRET, Json, Server, record, write_records

FIELDS: dict[str, Any] = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "correction": "2"}


REFUSED: dict[str, Callable[[Any], Any]] = {
    "unknown candidate": lambda c: c.get_candidate("x"),
    "no id": lambda c: c.get_candidate(""),
    "long id": lambda c: c.get_candidate("x" * 513),
    "blank correction": lambda c: c.submit("a", action="correct", corrected_response=" "),
    "both corrections": lambda c: c.submit(
        "a", action="correct", corrected_response="x", corrected_message={"content": "y"}
    ),
    "role": lambda c: c.submit("a", action="correct", corrected_message={"role": "user", "content": "y"}),
    "empty message": lambda c: c.submit("a", action="correct", corrected_message={"role": "assistant"}),
    "bad calls": lambda c: c.submit("a", action="correct", corrected_message={"tool_calls": []}),
    "long reviewer": lambda c: c.submit("a", action="flag", reviewer="x" * 1_001),
    "long request id": lambda c: c.submit("a", action="flag", request_id="x" * 129),
    "decided": lambda c: c.submit("d", action="flag"),
    "decided by revision": lambda c: c.submit("d", action="flag", expected_revision=1),
    "decided under a lease": lambda c: c.submit("d", action="flag", lease_id="x"),
    "other status": lambda c: c.submit("p", action="flag"),
    "unknown lease": lambda c: c.submit("a", action="flag", lease_id="x"),
    "long lease": lambda c: c.submit("a", action="flag", lease_id="x" * 65),
    "undo in review": lambda c: c.undo("a"),
    "undo unknown": lambda c: c.undo("x"),
    "negative revision": lambda c: c.submit("a", action="flag", expected_revision=-1),
    "undo by a negative revision": lambda c: c.undo("d", expected_revision=-1),
    "undo by revision": lambda c: c.undo("d", expected_revision=1),
    "negative page": lambda c: c.queue(page=-1),
    "page and token": lambda c: c.queue(page=2, page_token="x"),
    "foreign token": lambda c: c.queue(page_token="x"),
    "review order": lambda c: c.queue(order="reviewed"),
    "mine without reviewer": lambda c: c.queue(claims="mine"),
    "nan bound": lambda c: c.queue(filter=CandidateFilter(min_quality_score=float("nan"))),
    "bad digest": lambda c: c.queue(filter=CandidateFilter(prompt_digests=["x"])),
    "negative page size": lambda c: c.list_candidates(page_size=-1),
    "short text": lambda c: c.list_candidates(text="ab"),
    "text in order": lambda c: c.list_candidates(text="abc", order="quality"),
    "history to come": lambda c: c.list_history(since_revision=2**62),
    "history gone": lambda c: c.list_history(since_revision=1),
    "watch gone": lambda c: next(c.watch(since_revision=1)),
    "watch to come": lambda c: next(c.watch(since_revision=2**62)),
    "claim without reviewer": lambda c: c.claim(),
    "claim too many": lambda c: c.claim(reviewer="kim", limit=51),
    "short lease": lambda c: c.claim(reviewer="kim", lease_seconds=9),
    "renew nothing": lambda c: c.renew_claims([]),
    "long postponement": lambda c: c.release_claims(["x"], postpone_seconds=604_801),
    "export to come": lambda c: list(c.export(at_revision=2**62)),
    "export gone": lambda c: list(c.export(at_revision=1)),
    "export since what is to come": lambda c: list(c.export(since_revision=2**62)),
    "export since an earlier store": lambda c: list(c.export(since_revision=1)),
    "shard": lambda c: list(c.export(shard_index=1)),
    "batch size": lambda c: list(c.export(batch_size=1_001)),
    "fraction": lambda c: list(c.export(split="train", validation_fraction=2)),
    "snapshot and revision": lambda c: list(c.export(snapshot="s", at_revision=5)),
    "unknown snapshot": lambda c: list(c.export(snapshot="s")),
    "snapshot name": lambda c: c.create_snapshot("S"),
    "snapshot to come": lambda c: c.create_snapshot("s", at_revision=2**62),
    "snapshot gone": lambda c: c.create_snapshot("s", at_revision=1),
    "get snapshot": lambda c: c.get_snapshot("s"),
    "delete snapshot": lambda c: c.delete_snapshot("s"),
    "unknown run": lambda c: c.import_run("x"),
    "run outside": lambda c: c.import_run("../x"),
    "relative directory": lambda c: c.set_config(bench_results_dir="x"),
    "blank source": lambda c: c.ingest(**FIELDS | {"source": ""}),
    "long label": lambda c: c.ingest(**FIELDS, label="x" * 1_001),
    "wrong token": lambda c: c.ingest(**FIELDS, metadata=[("authorization", "Bearer x")]),
    "no token": lambda c: c.ingest(**FIELDS, metadata=[("authorization", "x")]),
}


@pytest.fixture(scope="module")
def real_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CorrectionsClient]:
    server = Server(tmp_path_factory.mktemp("real"))
    write_records(server.candidates, candidates_of_refusals())
    server.start()
    with CorrectionsClient(server.address, token=SECRET) as client:
        yield client
    server.kill()


def candidates_of_refusals() -> list[Json]:
    decided = record("d", status="approved", corrected_response="x")
    return [record("a"), decided, record("p", status="pending")]


def refusal(call: Callable[[Any], Any], client: Any) -> tuple[Any, ...]:
    """What a caller can tell of an error; revisions are each service's own."""
    with pytest.raises(avocet_client.CorrectionsError) as caught:
        call(client)
    error = caught.value
    metadata = {key: value for key, value in error.metadata.items() if "revision" not in key}
    fields = [violation.field for violation in error.field_violations]
    return type(error), error.code, error.reason, set(error.metadata), metadata, fields


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_is_refused_as_the_server_refuses_it(name: str, real_client: Any) -> None:
    service = Service(candidates_of_refusals(), secret=SECRET)
    assert refusal(REFUSED[name], service.client()) == refusal(REFUSED[name], real_client)


def test_leases_and_postponements_end_when_the_clock_is_set() -> None:
    service = Service([record("a"), record("b")])
    with service.client() as client:
        (claim,) = client.claim(reviewer="kim", lease_seconds=60)
        assert client.claim(reviewer="ann")[0].candidate.id == "b"
        service.clock.advance(61)
        with pytest.raises(avocet_client.ClaimLost):
            client.submit("a", action="flag", lease_id=claim.lease_id)
        assert list(client.renew_claims([claim.lease_id]).lost) == [claim.lease_id]
        (again,) = client.claim(reviewer="ann")
        client.release_claims([again.lease_id], postpone_seconds=600)
        assert client.claim(reviewer="ann") == []
        service.clock.advance(601)
        assert {one.candidate.id for one in client.claim(reviewer="ann", limit=5)} == {"a", "b"}


def test_a_service_fails_as_a_test_asks_and_then_goes_on() -> None:
    service = Service([record("a")])
    with service.client() as client:
        service.fail_next("Submit", avocet_client.StorageFull)
        with pytest.raises(avocet_client.TryLater) as caught:
            client.submit("a", action="flag")
        assert (type(caught.value), caught.value.code.name) == (avocet_client.StorageFull, "RESOURCE_EXHAUSTED")
        assert client.submit("a", action="flag").revision
        with pytest.raises(ValueError, match="not an error of the service"):
            service.fail_next("Submit", avocet_client.TransportError)


@pytest.mark.parametrize("method", ["submit", "Nope", ""])
def test_a_service_cannot_fail_in_a_method_that_it_does_not_have(method: str) -> None:
    with pytest.raises(ValueError, match=r"not a method of the service; there are .*Submit, .*Watch"):
        Service().fail_next(method, avocet_client.StorageFull)


@pytest.mark.parametrize("run_id", ["../x", "a/b", "", ".", "a\0"])
def test_a_run_has_the_name_that_a_directory_can_have(run_id: str) -> None:
    with pytest.raises(ValueError, match="run_id must be the name of a run"):
        Service().add_run(run_id, [])


NO_RECORDS: dict[str, Any] = {
    "no id": {},
    "an empty id": {"id": ""},
    "a number as the id": {"id": 5},
    "a long id": {"id": "x" * 513},
    "half a character in the id": {"id": "\ud800"},
    "NUL in the id": {"id": "a\0"},
    "a list": [1],
    "what is not JSON": {"id": "a", "x": {1}},
    "nested too deep": {"id": "a", "x": json.loads("[" * 500 + "]" * 500)},
}


@pytest.mark.parametrize("name", NO_RECORDS)
def test_what_is_no_record_is_refused_by_its_place_and_nothing_is_added(name: str) -> None:
    with pytest.raises(ValueError, match=r"^candidates\[1\] "):
        Service([record("a"), NO_RECORDS[name]])
    service = Service()
    with service.client() as client:
        with pytest.raises(ValueError, match=r"^candidates\[1\] "):
            service.add(record("a"), NO_RECORDS[name])
        assert client.stats().total == 0


def test_a_service_without_a_secret_takes_no_corrections() -> None:
    with Service(secret=None).client() as client, pytest.raises(avocet_client.IngestionNotConfigured):
        client.ingest(**FIELDS)


def test_a_caller_cannot_reach_what_the_service_holds() -> None:
    given = record("a")
    with Service([given]).client() as client:
        given["status"] = "discarded"
        client.get_candidate("a").corrected_response = "changed by the caller"
        assert not client.get_candidate("a").HasField("corrected_response")
        assert status_word(client.get_candidate("a")) == "needs_review"


def test_every_method_of_the_service_is_answered_in_memory() -> None:
    from avocet_client.testing.service import UNARY

    other = {
        "GetCandidate",
        "GetVersion",
        "GetConfig",
        "SetConfig",
        "StreamExport",
        "Watch",
        "UploadRun",
        "StreamIngest",
    }
    methods = pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods
    assert {method.name for method in methods} == set(UNARY) | other


def test_the_memory_service_can_give_every_error_of_the_service() -> None:
    assert set(CODES) == set(avocet_client.errors.BY_REASON)
    for reason, kind in avocet_client.errors.BY_REASON.items():
        service = Service()
        service.fail_next("Stats", kind)
        with service.client() as client, pytest.raises(kind) as caught:
            client.stats()
        assert (caught.value.reason, caught.value.code) == (reason, CODES[reason])
