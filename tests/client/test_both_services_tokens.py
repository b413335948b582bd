"""What a token is bound to: one suite on the real server and on the in-memory service, by the requests themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from avocet_client.testing import Service
from avocet_client.testing.channel import Channel
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1.corrections_pb2_grpc import CorrectionsServiceStub
from tests.support import Server, record, write_records

EMPTY = pb.CandidateFilter()
SPLIT: dict[str, Any] = {"name": pb.SPLIT_NAME_TRAIN, "validation_fraction": 0.0}
Fields = dict[str, Any]

PAGES: dict[str, tuple[str, Fields, Fields]] = {
    "an order that is not given is the file's": ("Queue", {}, {"order": pb.ORDER_FILE}),
    "claims that are not given are any": ("Queue", {"claims": pb.CLAIM_STATE_ANY}, {}),
    "an empty filter is none": ("Queue", {"filter": EMPTY}, {}),
    "no filter is an empty one": ("ListCandidates", {}, {"filter": EMPTY}),
    "an order of the list is the file's": ("ListCandidates", {"order": pb.ORDER_FILE}, {}),
    "statuses in another order": ("ListCandidates", {"statuses": [1, 2]}, {"statuses": [2, 1]}),
    "a status twice": ("ListCandidates", {"statuses": [1]}, {"statuses": [1, 1]}),
}
EXPORTS: dict[str, tuple[Fields, Fields]] = {
    "one shard is no shards": ({"shard_count": 1}, {}),
    "an empty filter is none": ({}, {"filter": EMPTY}),
    "a split that is not by anything is by id": (
        {"split": pb.Split(**SPLIT)},
        {"split": pb.Split(**SPLIT, by=pb.SPLIT_BY_ID)},
    ),
}
OTHERS: dict[str, tuple[str, Fields, Fields]] = {
    "another order": ("Queue", {}, {"order": pb.ORDER_QUALITY}),
    "other claims": ("Queue", {}, {"claims": pb.CLAIM_STATE_UNCLAIMED}),
    "another filter": ("Queue", {}, {"filter": pb.CandidateFilter(labels=["x"])}),
    "other statuses": ("ListCandidates", {"statuses": [1, 2]}, {"statuses": [1]}),
}


def records() -> list[Any]:
    waiting = [record(id) for id in "abc"]
    return waiting + [record(id, status="approved", corrected_response=id) for id in "def"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("tokens"))
    write_records(server.candidates, records())
    write_records(server.approved, records()[3:])
    yield server.start()
    server.kill()


@pytest.fixture(params=["server", "memory"])
def stub(request: pytest.FixtureRequest) -> CorrectionsServiceStub:
    if request.param == "memory":
        return CorrectionsServiceStub(Channel(Service(records())))
    stub: CorrectionsServiceStub = request.getfixturevalue("server").stub
    return stub


def page(stub: CorrectionsServiceStub, method: str, fields: Fields) -> Any:
    size = "per_page" if method == "Queue" else "page_size"
    return getattr(stub, method)(getattr(pb, f"{method}Request")(**{size: 1}, **fields))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_token_is_good_for_every_spelling_of_its_request(stub: CorrectionsServiceStub, name: str) -> None:
    method, first, second = PAGES[name]
    token = page(stub, method, first).next_page_token
    assert [item.id for item in page(stub, method, second | {"page_token": token}).items] == ["b"]


@pytest.mark.parametrize("name", EXPORTS)
def test_a_resume_token_is_good_for_every_spelling_of_its_export(stub: CorrectionsServiceStub, name: str) -> None:
    first, second = EXPORTS[name]
    token = next(iter(stub.StreamExport(pb.StreamExportRequest(batch_size=1, **first)))).resume_token
    rest = stub.StreamExport(pb.StreamExportRequest(resume_token=token, **second))
    assert [example.id for response in rest for example in response.examples] == ["e", "f"]


@pytest.mark.parametrize("name", OTHERS)
def test_a_page_token_is_refused_by_a_request_for_something_else(stub: CorrectionsServiceStub, name: str) -> None:
    method, first, second = OTHERS[name]
    token = page(stub, method, first).next_page_token
    with pytest.raises(grpc.RpcError) as caught:
        page(stub, method, second | {"page_token": token})
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
