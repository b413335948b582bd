"""Tokens go on with the request that they came from: each field of it is bound, or may change between two pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record, write_records

FILTER = pb.CandidateFilter(sources=["x"])


class Paged(NamedTuple):
    """A request whose answer has a token, another value of each field that is bound, and the fields that are not."""

    request: Any
    bound: Mapping[str, Any]
    free: Mapping[str, Any]
    token: str = "page_token"

    @property
    def excluded(self) -> set[str]:
        """Fields that have a rule of their own beside a token."""
        return {"Queue": {"page"}, "StreamExport": {"at_revision"}, "Watch": {"since_revision"}}.get(self.name, set())

    @property
    def name(self) -> str:
        return str(self.request.DESCRIPTOR.name.removesuffix("Request"))


METHODS = (
    Paged(
        pb.QueueRequest(per_page=1),
        {"filter": FILTER, "order": pb.ORDER_QUALITY, "claims": pb.CLAIM_STATE_UNCLAIMED, "reviewer": "kim"},
        {"per_page": 2, "include_record": True},
    ),
    Paged(
        pb.QueueRequest(per_page=1, reviewer="ann", claims=pb.CLAIM_STATE_UNCLAIMED),
        {"filter": FILTER, "order": pb.ORDER_QUALITY, "claims": pb.CLAIM_STATE_ANY, "reviewer": "kim"},
        {"per_page": 2, "include_record": True},
    ),
    Paged(
        pb.ListCandidatesRequest(page_size=1),
        {"filter": FILTER, "order": pb.ORDER_REVIEWED, "statuses": [pb.CANDIDATE_STATUS_APPROVED], "text": "sky"},
        {"page_size": 2, "include_record": True},
    ),
    Paged(
        pb.ListHistoryRequest(page_size=1),
        {
            "id": "c0",
            "actors": ["ann"],
            "actions": [pb.CHANGE_ACTION_CORRECT],
            "oldest_first": True,
            "since_revision": 1,
        },
        {"page_size": 2},
    ),
    Paged(pb.ListSnapshotsRequest(page_size=1), {}, {"page_size": 2}),
    Paged(pb.ListRunsRequest(page_size=1), {}, {"page_size": 2}),
    Paged(
        pb.StreamExportRequest(batch_size=1),
        {
            "filter": FILTER,
            "shard_count": 2,
            "split": pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.5),
            "since_revision": 1,
            "unique_prompts": True,
            "snapshot": "s0",
        },
        {"batch_size": 2},
        token="resume_token",
    ),
    Paged(
        pb.StreamExportRequest(batch_size=1, shard_count=3, shard_index=0),
        {"shard_index": 1, "shard_count": 2},
        {"batch_size": 2},
        token="resume_token",
    ),
    Paged(
        pb.WatchRequest(),
        {"filter": FILTER, "actions": [pb.CHANGE_ACTION_CORRECT]},
        {"include_candidates": True, "include_record": True, "heartbeat_seconds": 1},
        token="resume_token",
    ),
)
IDS = [f"{paged.name}-{number}" for number, paged in enumerate(METHODS)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """More than two pages of everything."""
    server = Server(tmp_path_factory.mktemp("pages"))
    write_records(server.candidates, [record(f"c{n}") for n in range(40)])
    for n in range(3):
        run = server.directory / "runs" / f"run{n}"
        run.mkdir(parents=True)
        write_records(run / "sft_candidates.jsonl", [record(f"r{n}")])
    server.start()
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(server.directory / "runs"))))
    for n in range(20):
        server.correct(f"c{n}")
    for n in range(3):
        server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name=f"s{n}"))
    yield server
    server.kill()


def answer(server: Server, paged: Paged, token: str = "", **other: Any) -> Any:
    """The first response to the request, with the token and with other values of fields."""
    request = type(paged.request)()
    request.CopyFrom(paged.request)
    for name in {"since_revision"} & other.keys():
        other[name] = server.stats().revision
    for name in other:
        request.ClearField(name)
    request.MergeFrom(type(request)(**{paged.token: token}, **other))
    response = getattr(server.stub, paged.name)(request, timeout=60)
    if paged.token == "page_token":
        return response
    first = next(response)
    response.cancel()
    return first


def token_of(response: Any) -> str:
    token = getattr(response, "next_page_token", "") or getattr(response, "resume_token", "")
    assert token
    return str(token)


@pytest.mark.parametrize("paged", METHODS, ids=IDS)
def test_a_token_is_refused_with_any_other_value_of_a_field_that_chooses(server: Server, paged: Paged) -> None:
    token = token_of(answer(server, paged))
    for field, value in paged.bound.items():
        failure = failure_of(lambda f=field, v=value: answer(server, paged, token, **{f: v}))
        assert (failure.reason, failure.fields) == ("INVALID_FIELD", [paged.token]), field


@pytest.mark.parametrize("paged", METHODS, ids=IDS)
def test_a_token_goes_on_with_another_size_of_the_page_and_another_form_of_the_answer(
    server: Server, paged: Paged
) -> None:
    token = token_of(answer(server, paged))
    for field, value in paged.free.items():
        again = answer(server, paged, token, **{field: value})
        # A watch without changes stands where it stood.
        assert paged.name == "Watch" or again != answer(server, paged), field


@pytest.mark.parametrize("paged", METHODS, ids=IDS)
def test_a_token_of_one_method_is_refused_by_all_others(server: Server, paged: Paged) -> None:
    token = token_of(answer(server, paged))
    for other in METHODS:
        if other.name != paged.name:
            failure = failure_of(lambda other=other: answer(server, other, token))
            assert (failure.reason, failure.fields) == ("INVALID_FIELD", [other.token]), other.name


def test_each_field_of_a_paged_request_is_known_to_be_bound_or_free() -> None:
    for name in {paged.name for paged in METHODS}:
        of_method = [paged for paged in METHODS if paged.name == name]
        known = set[str]().union(*({*p.bound, *p.free, *p.excluded, p.token} for p in of_method))
        assert known == {field.name for field in of_method[0].request.DESCRIPTOR.fields}, name


def test_each_method_with_a_token_is_looked_at() -> None:
    service = pb.DESCRIPTOR.services_by_name["CorrectionsService"]
    with_token = {
        method.name
        for method in service.methods
        if {"page_token", "resume_token"} & {field.name for field in method.input_type.fields}
    }
    assert with_token == {paged.name for paged in METHODS}
