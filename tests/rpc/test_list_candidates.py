"""ListCandidates: candidates of any status, in each order, by text, each once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record, write_records

STATUSES = ["needs_review", "approved", "discarded", "model_rejected", "pending", None]
COUNT = 36
UNKNOWN: Any = 77


def listed_record(n: int) -> dict[str, Any]:
    made = record(
        f"c{n}",
        status=STATUSES[n % len(STATUSES)],
        quality_score=None if n % 4 == 0 else n % 5 / 4,
        timestamp=f"2026-01-{n % 7 + 1:02}" if n % 5 else None,
        model_response=f"Number {n} is {'even' if n % 2 == 0 else 'odd'}.",
    )
    if n % 7 < 5:
        made["reviewed_at"] = f"2026-02-{n % 4 + 1:02}"
    return made


MADE = [listed_record(n) for n in range(COUNT)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Server(tmp_path_factory.mktemp("listed"))
    write_records(server.candidates, MADE)
    server.start()
    yield server
    server.kill()


def listed(server: Server, page_size: int = 5, **fields: Any) -> list[str]:
    """All ids, page by page."""
    ids, token = list[str](), ""
    while True:
        request = pb.ListCandidatesRequest(page_size=page_size, page_token=token, **fields)
        page = server.stub.ListCandidates(request)
        ids += [item.id for item in page.items]
        token = page.next_page_token
        if not token:
            return ids


def expected(key: str, *, descending: bool = False) -> list[str]:
    have = [r for r in MADE if r.get(key) is not None]
    lack = [r for r in MADE if r.get(key) is None]
    have.sort(key=lambda r: r[key])
    if descending:
        have.reverse()
        lack.reverse()
    return [r["id"] for r in have + lack]


@pytest.mark.parametrize("page_size", [1, 5, 500])
@pytest.mark.parametrize(
    ("order", "ids"),
    [
        (pb.ORDER_UNSPECIFIED, [r["id"] for r in MADE]),
        (pb.ORDER_FILE, [r["id"] for r in MADE]),
        (pb.ORDER_TIMESTAMP, expected("timestamp")),
        (pb.ORDER_TIMESTAMP_DESC, expected("timestamp", descending=True)),
        (pb.ORDER_QUALITY, expected("quality_score")),
        (pb.ORDER_QUALITY_DESC, expected("quality_score", descending=True)),
        (pb.ORDER_REVIEWED, expected("reviewed_at")),
        (pb.ORDER_REVIEWED_DESC, expected("reviewed_at", descending=True)),
    ],
)
def test_each_candidate_comes_once_in_each_order(server: Server, order: Any, ids: list[str], page_size: int) -> None:
    assert listed(server, page_size, order=order) == ids


@pytest.mark.parametrize("order", [pb.ORDER_FILE, pb.ORDER_TIMESTAMP, pb.ORDER_REVIEWED_DESC])
@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([pb.CANDIDATE_STATUS_APPROVED], ["approved"]),
        ([pb.CANDIDATE_STATUS_NEEDS_REVIEW, pb.CANDIDATE_STATUS_DISCARDED], ["needs_review", "discarded"]),
        ([pb.CANDIDATE_STATUS_UNSPECIFIED], ["pending", None]),
        ([pb.CANDIDATE_STATUS_UNSPECIFIED, pb.CANDIDATE_STATUS_APPROVED], ["pending", None, "approved"]),
    ],
)
def test_a_list_of_statuses_has_those_and_no_others(server: Server, order: Any, numbers: Any, words: Any) -> None:
    wanted = {r["id"] for r in MADE if r["status"] in words}
    found = listed(server, 4, order=order, statuses=numbers)
    assert found == [id for id in listed(server, order=order) if id in wanted]


def test_a_filter_holds_in_every_order(server: Server) -> None:
    filter = pb.CandidateFilter(min_quality_score=0.5)
    wanted = {r["id"] for r in MADE if r["quality_score"] is not None and r["quality_score"] >= 0.5}
    for order in pb.Order.values():
        assert set(listed(server, 3, order=order, filter=filter)) == wanted


def test_a_text_is_found_in_any_case_of_ascii_letters(server: Server) -> None:
    odd = [r["id"] for r in MADE if int(r["id"][1:]) % 2]
    assert listed(server, 4, text="IS ODD") == odd
    assert listed(server, 4, text="number 7 ") == ["c7"]
    assert listed(server, 4, text="why is the sky") == [r["id"] for r in MADE]
    assert listed(server, 4, text="no such text") == []
    approved = [pb.CANDIDATE_STATUS_APPROVED]
    assert listed(server, 2, text="odd", statuses=approved) == [
        i for i in odd if STATUSES[int(i[1:]) % 6] == "approved"
    ]


def test_a_record_is_shown_as_the_line_has_it_if_asked(server: Server) -> None:
    shown = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=1, include_record=True)).items[0]
    assert json.loads(shown.record_json) == MADE[0]
    assert not server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=1)).items[0].record_json


def test_a_token_goes_with_the_request_that_it_came_from_alone(server: Server) -> None:
    token = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=1)).next_page_token
    for other in ({"order": pb.ORDER_QUALITY}, {"text": "odd"}, {"statuses": [2]}, {"filter": {"sources": ["x"]}}):
        request = pb.ListCandidatesRequest(page_token=token, **other)
        assert failure_of(lambda r=request: server.stub.ListCandidates(r)).fields == ["page_token"]
    larger = pb.ListCandidatesRequest(page_token=token, page_size=2)
    assert [item.id for item in server.stub.ListCandidates(larger).items] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListCandidatesRequest(text="ab"), "text"),
        (pb.ListCandidatesRequest(text="x" * 1_001), "text"),
        (pb.ListCandidatesRequest(text="abc", order=pb.ORDER_QUALITY), "order"),
        (pb.ListCandidatesRequest(order=UNKNOWN), "order"),
        (pb.ListCandidatesRequest(statuses=[pb.CANDIDATE_STATUS_APPROVED, UNKNOWN]), "statuses[1]"),
        (pb.ListCandidatesRequest(page_size=-1), "page_size"),
        (pb.ListCandidatesRequest(page_token="x"), "page_token"),
    ],
)
def test_what_no_list_can_mean_is_refused_by_its_field(server: Server, request_: Any, field: str) -> None:
    failure = failure_of(lambda: server.stub.ListCandidates(request_))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]


def test_who_matches_throughout_comes_once_while_others_are_decided(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(30)])
    server = stopped_server.start()
    seen, token = list[str](), ""
    for n in range(30):
        request = pb.ListCandidatesRequest(
            statuses=[pb.CANDIDATE_STATUS_NEEDS_REVIEW], page_size=1, page_token=token, order=pb.ORDER_TIMESTAMP
        )
        page = server.stub.ListCandidates(request)
        seen += [item.id for item in page.items]
        if (token := page.next_page_token) == "":
            break
        if n % 3 == 0:
            server.stub.Submit(pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_FLAG))
    kept = [f"c{n}" for n in range(30) if n % 3]
    assert len(set(seen)) == len(seen) and set(kept) <= set(seen)


def test_a_search_looks_at_ten_thousand_candidates_a_page_and_goes_on(stopped_server: Server) -> None:
    made = [{"id": f"c{n}", "status": "needs_review", "model_response": "plain"} for n in range(10_050)]
    made[10_020]["model_response"] = "the needle"
    write_records(stopped_server.candidates, made)
    server = stopped_server.start(within=60)
    first = server.stub.ListCandidates(pb.ListCandidatesRequest(text="needle"))
    assert not first.items and first.next_page_token
    second = server.stub.ListCandidates(pb.ListCandidatesRequest(text="needle", page_token=first.next_page_token))
    assert [item.id for item in second.items] == ["c10020"] and not second.next_page_token


def test_a_filter_looks_at_ten_thousand_candidates_a_page_and_goes_on(stopped_server: Server) -> None:
    made = [{"id": f"c{n}", "status": "needs_review", "task_type": "plain"} for n in range(20_050)]
    for n in (3, 20_020):
        made[n]["task_type"] = "rare"
    write_records(stopped_server.candidates, made)
    server = stopped_server.start(within=60)
    pages, token = list[list[str]](), ""
    while not pages or token:
        request = pb.ListCandidatesRequest(filter=pb.CandidateFilter(task_types=["rare"]), page_token=token)
        page = server.stub.ListCandidates(request)
        pages.append([item.id for item in page.items])
        token = page.next_page_token
    assert pages == [["c3"], [], ["c20020"]]
