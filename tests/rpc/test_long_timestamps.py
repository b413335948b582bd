"""Timestamps as long as other programs may write them: every order can be followed to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, record, write_records

LONG = "2025-03-01T12:30:00 \u00e9" + "\u00e9" * 100_000
MOST = 10_000
"""Characters of a page token: it may have to pass through what allows no more."""
EXPECTED = ["early", "long-1", "long-2", "late", "none"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(Path(tmp_path_factory.mktemp("long")))
    times = {"none": None, "late": "2025-03-02", "long-1": LONG, "early": "2025-03-01", "long-2": LONG}
    write_records(server.candidates, [record(id, timestamp=at, reviewed_at=at) for id, at in times.items()])
    yield server.start()
    server.kill()


def followed(page: pb.QueueResponse | pb.ListCandidatesResponse) -> str:
    assert len(page.next_page_token) < MOST
    return page.next_page_token


@pytest.mark.parametrize("per_page", [1, 2, 500])
@pytest.mark.parametrize("order", [pb.ORDER_TIMESTAMP, pb.ORDER_TIMESTAMP_DESC])
def test_the_queue_is_followed_past_them(served: Server, order: pb.Order.ValueType, per_page: int) -> None:
    found, token = [], ""
    while True:
        page = served.stub.Queue(pb.QueueRequest(order=order, per_page=per_page, page_token=token))
        found += [one.id for one in page.items]
        if not (token := followed(page)):
            break
    assert found == (EXPECTED if order == pb.ORDER_TIMESTAMP else expected_backwards())


@pytest.mark.parametrize("page_size", [1, 2, 500])
@pytest.mark.parametrize(
    "order", [pb.ORDER_TIMESTAMP, pb.ORDER_TIMESTAMP_DESC, pb.ORDER_REVIEWED, pb.ORDER_REVIEWED_DESC]
)
def test_lists_are_followed_past_them(served: Server, order: pb.Order.ValueType, page_size: int) -> None:
    found, token = [], ""
    while True:
        request = pb.ListCandidatesRequest(order=order, page_size=page_size, page_token=token)
        page = served.stub.ListCandidates(request)
        found += [one.id for one in page.items]
        if not (token := followed(page)):
            break
    assert found == (EXPECTED if order in (pb.ORDER_TIMESTAMP, pb.ORDER_REVIEWED) else expected_backwards())


def test_the_record_keeps_them_whole(served: Server) -> None:
    found = served.stub.GetCandidate(pb.GetCandidateRequest(id="long-1")).candidate
    assert (found.timestamp, found.reviewed_at) == (LONG, LONG)


def expected_backwards() -> list[str]:
    """Records without the key come last in both directions."""
    return [*reversed(EXPECTED[:-1]), "none"]
