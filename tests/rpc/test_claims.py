"""Claims: two reviewers never get the same candidate, and nobody decides what another one holds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, failure_of, record, write_records

pytestmark = pytest.mark.both_engines

UNKNOWN: Any = 99


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}", quality_score=n / 10) for n in range(8)])
    return stopped_server.start()


def claim(server: Server, reviewer: str = "ann", limit: int = 1, **fields: Any) -> list[pb.Claim]:
    return list(server.stub.Claim(pb.ClaimRequest(reviewer=reviewer, limit=limit, **fields)).claims)


def ids(claims: list[pb.Claim]) -> list[str]:
    return [each.candidate.id for each in claims]


def decide(server: Server, id: str, **fields: Any) -> pb.Candidate:
    return server.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_DISCARD, **fields)).candidate


def queued(server: Server, state: Any, **fields: Any) -> tuple[list[str], int]:
    page = server.stub.Queue(pb.QueueRequest(claims=state, **fields))
    return [item.id for item in page.items], page.total


def test_a_claim_hands_out_what_nobody_holds_in_the_order_asked_for(server: Server) -> None:
    assert ids(claim(server, "ann", 2)) == ["c0", "c1"]
    assert ids(claim(server, "bob", 2)) == ["c2", "c3"]
    assert ids(claim(server, "bob", 2, order=pb.ORDER_QUALITY_DESC)) == ["c7", "c6"]
    assert ids(claim(server, "cid", 50)) == ["c4", "c5"]
    assert claim(server, "dan") == []


def test_callers_at_once_never_get_the_same_candidate(server: Server) -> None:
    with ThreadPoolExecutor(8) as threads:
        taken = [id for found in threads.map(lambda n: ids(claim(server, f"r{n}", 2)), range(8)) for id in found]
    assert sorted(taken) == [f"c{n}" for n in range(8)]


def test_a_claim_heeds_the_filter(server: Server) -> None:
    filter = pb.CandidateFilter(min_quality_score=0.55)
    assert ids(claim(server, limit=50, filter=filter)) == ["c6", "c7"]


def test_a_claim_says_who_holds_what_until_when_and_keeps_its_lease_to_its_taker(server: Server) -> None:
    before = time.time()
    (taken,) = claim(server, lease_seconds=60)
    assert len(taken.lease_id) == 22 and taken.reviewer == taken.candidate.claim.reviewer == "ann"
    assert before + 55 < taken.expires_at.ToMilliseconds() / 1000 < time.time() + 61
    found = server.stub.GetCandidate(pb.GetCandidateRequest(id="c0")).candidate
    assert found.claim == taken.candidate.claim
    shown = server.stub.Queue(pb.QueueRequest(per_page=2)).items
    assert shown[0].claim == taken.candidate.claim and not shown[1].HasField("claim")
    assert server.stub.ListCandidates(pb.ListCandidatesRequest()).items[0].claim == taken.candidate.claim
    assert taken.lease_id not in str(shown) + str(found) + server.log


def test_the_queue_and_the_counts_tell_what_is_claimed(server: Server) -> None:
    claim(server, "ann", 2)
    claim(server, "bob", 1)
    assert queued(server, pb.CLAIM_STATE_CLAIMED) == (["c0", "c1", "c2"], 3)
    assert queued(server, pb.CLAIM_STATE_MINE, reviewer="bob") == (["c2"], 1)
    assert queued(server, pb.CLAIM_STATE_UNCLAIMED, per_page=2) == (["c3", "c4"], 5)
    assert queued(server, pb.CLAIM_STATE_ANY)[1] == 8
    assert server.stats().claimed == 3
    narrow = pb.StatsRequest(filter=pb.CandidateFilter(max_quality_score=0.05))
    assert server.stub.Stats(narrow).claimed == 1


def test_a_page_token_belongs_to_its_state_of_claim_and_reviewer(server: Server) -> None:
    claim(server, "ann", 4)
    mine: dict[str, Any] = {"claims": pb.CLAIM_STATE_MINE, "reviewer": "ann", "per_page": 1}
    token = server.stub.Queue(pb.QueueRequest(**mine)).next_page_token
    assert server.stub.Queue(pb.QueueRequest(page_token=token, **mine)).items[0].id == "c1"
    for other in ({"reviewer": "bob"}, {"claims": pb.CLAIM_STATE_CLAIMED}, {"claims": pb.CLAIM_STATE_ANY}):
        failure = failure_of(lambda o=other: server.stub.Queue(pb.QueueRequest(page_token=token, **(mine | o))))
        assert failure.reason == "INVALID_FIELD" and failure.fields == ["page_token"]


def test_a_decision_ends_the_claim_and_an_undone_candidate_is_held_by_nobody(server: Server) -> None:
    (taken,) = claim(server)
    decided = decide(server, "c0", lease_id=taken.lease_id)
    assert decided.status == pb.CANDIDATE_STATUS_DISCARDED and decided.reviewed_by == "ann"
    assert not decided.HasField("claim") and server.stats().claimed == 0
    undone = server.stub.Undo(pb.UndoRequest(id="c0")).candidate
    assert not undone.HasField("claim")
    assert failure_of(lambda: decide(server, "c0", lease_id=taken.lease_id)).reason == "CLAIM_LOST"
    assert ids(claim(server, "bob")) == ["c0"]


def test_a_candidate_that_another_reviewer_holds_is_refused_with_the_holder_and_the_time(server: Server) -> None:
    (taken,) = claim(server)
    for fields in ({}, {"reviewer": "bob"}):
        failure = failure_of(lambda f=fields: decide(server, "c0", **f))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLAIMED")
        assert failure.metadata == {"reviewer": "ann", "expires_at": taken.expires_at.ToJsonString()}
    assert decide(server, "c0", reviewer="ann").status == pb.CANDIDATE_STATUS_DISCARDED


def test_a_refusal_has_the_whole_name_of_the_holder(server: Server) -> None:
    name = "r" * 1_000
    (taken,) = claim(server, name)
    failure = failure_of(lambda: decide(server, taken.candidate.id, reviewer="bob"))
    assert (failure.reason, failure.metadata["reviewer"]) == ("CLAIMED", name)


def test_a_lease_that_is_not_the_current_claim_is_lost(server: Server) -> None:
    first, second = claim(server, limit=2)
    cases = [("c0", {"lease_id": second.lease_id}), ("c0", {"lease_id": "x"}), ("c2", {"lease_id": first.lease_id})]
    cases.append(("c0", {"lease_id": first.lease_id, "reviewer": "bob"}))
    for id, fields in cases:
        failure = failure_of(lambda i=id, f=fields: decide(server, i, **f))
        assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "CLAIM_LOST")


def test_refusals_come_in_the_order_of_the_contract(server: Server) -> None:
    claim(server, limit=2)
    stale: dict[str, Any] = {"expected_revision": 1, "lease_id": "x"}
    assert failure_of(lambda: decide(server, "nobody", **stale)).reason == "CANDIDATE_NOT_FOUND"
    assert failure_of(lambda: decide(server, "c0", **stale)).reason == "REVISION_MISMATCH"
    decide(server, "c1", reviewer="ann")
    assert failure_of(lambda: decide(server, "c1", lease_id="x")).reason == "NOT_IN_REVIEW"
    assert failure_of(lambda: decide(server, "c0", lease_id="x" * 65)).fields == ["lease_id"]


def test_claims_are_renewed_and_released_and_what_has_ended_is_lost(server: Server) -> None:
    first, second, third = claim(server, limit=3, lease_seconds=10)
    decide(server, "c2", reviewer="ann")
    leases = [first.lease_id, "made up", third.lease_id]
    renewed = server.stub.RenewClaims(pb.RenewClaimsRequest(lease_ids=leases, lease_seconds=3_600))
    assert [each.lease_id for each in renewed.claims] == [first.lease_id]
    assert renewed.claims[0].expires_at.ToSeconds() > time.time() + 3_500
    assert not renewed.claims[0].HasField("candidate") and list(renewed.lost) == leases[1:]
    released = server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[first.lease_id, second.lease_id]))
    assert (released.released, list(released.lost)) == (2, [])
    again = server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[first.lease_id]))
    assert (again.released, list(again.lost)) == (0, [first.lease_id])
    assert ids(claim(server, "bob", 2)) == ["c0", "c1"]


def test_a_postponed_candidate_is_kept_from_its_reviewer_alone(server: Server) -> None:
    (taken,) = claim(server)
    server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[taken.lease_id], postpone_seconds=600))
    assert ids(claim(server, "ann")) == ["c1"]
    assert ids(claim(server, "bob")) == ["c0"]


def test_a_request_id_gives_the_claims_of_the_first_answer_that_still_live(server: Server) -> None:
    first = claim(server, limit=2, request_id="r")
    assert claim(server, limit=2, request_id="r") == first
    decide(server, "c0", reviewer="ann")
    assert claim(server, limit=2, request_id="r") == first[1:]
    assert failure_of(lambda: claim(server, limit=3, request_id="r")).fields == ["request_id"]


def test_claims_survive_a_restart(server: Server) -> None:
    (taken,) = claim(server)
    server.stop()
    server.start()
    assert server.stats().claimed == 1
    assert ids(claim(server, "bob")) == ["c1"]
    assert decide(server, "c0", lease_id=taken.lease_id).reviewed_by == "ann"


def test_a_reviewer_holds_at_most_500(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(520)])
    server = stopped_server.start()
    assert sum(len(claim(server, "ann", 50)) for _ in range(12)) == 500
    assert len(claim(server, "bob", 50)) == 20


def test_an_answer_ends_before_it_is_too_large_for_a_client_and_what_was_not_sent_is_not_held(
    stopped_server: Server,
) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}", model_response="x" * 400_000) for n in range(12)])
    server = stopped_server.start()
    taken = claim(server, limit=12)
    assert 1 <= len(taken) < 12
    assert server.stats().claimed == len(taken)
    assert sum(len(claim(server, limit=12)) for _ in range(12)) == 12 - len(taken)


def test_an_answer_has_as_many_as_fit_into_3_mb(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}", model_response="x" * 50_000) for n in range(50)])
    server = stopped_server.start()
    request = pb.ClaimRequest(reviewer="ann", limit=50)
    answer = server.stub.Claim(request)
    assert len(answer.claims) == 50 and 2_500_000 < answer.ByteSize() < 3_000_000


@pytest.mark.parametrize("text", ["x" * 69_000, "\u0416" * 25_000], ids=["text", "escaped twice"])
def test_an_answer_never_has_more_than_3_mb_and_is_nearly_full(stopped_server: Server, text: str) -> None:
    more = {"model_response": text} if text.isascii() else {"note": text}
    write_records(stopped_server.candidates, [record(f"c{n}", **more) for n in range(50)])
    answer = stopped_server.start().stub.Claim(pb.ClaimRequest(reviewer="\U0001d11e" * 1_000, limit=50))
    assert len(answer.claims) < 50 and 2_800_000 < answer.ByteSize() < 3_000_000


def test_an_answer_given_again_has_as_many_as_fit_although_the_records_grew(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(50)])
    server = stopped_server.start()
    request = pb.ClaimRequest(reviewer="ann", limit=50, request_id="again")
    first = server.stub.Claim(request)
    assert len(first.claims) == 50
    if not server.has_files:
        pytest.skip("only the files' own programs make records longer")
    write_records(server.candidates, [record(f"c{n}", model_response="x" * 200_000) for n in range(50)])
    grown = pb.GetCandidateRequest(id="c49")
    eventually(lambda: len(server.stub.GetCandidate(grown).candidate.model_response) > 100_000 or None)
    again = server.stub.Claim(request)
    assert 10 < len(again.claims) < 20 and again.ByteSize() < 3_000_000
    assert [one.lease_id for one in again.claims] == [one.lease_id for one in first.claims][: len(again.claims)]


@pytest.mark.parametrize("order", range(pb.ORDER_FILE, pb.ORDER_QUALITY_DESC + 1))
@pytest.mark.parametrize("state", [pb.CLAIM_STATE_CLAIMED, pb.CLAIM_STATE_MINE, pb.CLAIM_STATE_UNCLAIMED])
@pytest.mark.parametrize("filtered", [False, True])
def test_page_numbers_of_what_is_claimed_give_what_tokens_give(
    stopped_server: Server, order: Any, state: Any, filtered: bool
) -> None:
    def odd(n: int) -> dict[str, Any]:
        return {"quality_score": None, "timestamp": None} if n % 2 else {"quality_score": n / 40}

    write_records(stopped_server.candidates, [record(f"c{n:02d}", **odd(n)) for n in range(40)])
    server = stopped_server.start()
    claim(server, "bob", 20)
    asked: dict[str, Any] = {"per_page": 6, "order": order, "claims": state, "reviewer": "bob"}
    if filtered:
        asked["filter"] = pb.CandidateFilter(task_types=[record("x")["task_type"]])
    by_token, token = list[str](), ""
    while not by_token or token:
        answer = server.stub.Queue(pb.QueueRequest(page_token=token, **asked))
        by_token += [item.id for item in answer.items]
        token = answer.next_page_token
    pages = [server.stub.Queue(pb.QueueRequest(page=page, **asked)) for page in range(1, 6)]
    assert [item.id for page in pages for item in page.items] == by_token
    assert len(by_token) == (10 if filtered else 20)


def test_pages_of_what_is_claimed_never_have_more_than_3_mb(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n:03d}", model_response="x" * 6_000) for n in range(450)])
    server = stopped_server.start()
    for _ in range(9):
        server.stub.Claim(pb.ClaimRequest(reviewer="\U0001d11e" * 1_000, limit=50))
    queued: list[str] = []
    listed: list[str] = []
    queue, listing = pb.QueueRequest(per_page=500), pb.ListCandidatesRequest(page_size=500)
    while not queued or queue.page_token:
        page = server.stub.Queue(queue)
        queued += [item.id for item in page.items]
        queue.page_token = page.next_page_token
        assert page.ByteSize() < 3_000_000
    while not listed or listing.page_token:
        rows = server.stub.ListCandidates(listing)
        listed += [item.id for item in rows.items]
        listing.page_token = rows.next_page_token
        assert rows.ByteSize() < 3_000_000
    assert queued == listed == [f"c{n:03d}" for n in range(450)]


def test_a_claim_changes_neither_revision_nor_record(server: Server) -> None:
    before = server.stats().revision
    (taken,) = claim(server)
    server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[taken.lease_id]))
    assert server.stats().revision == before
    assert list(server.stub.ListHistory(pb.ListHistoryRequest(id="c0")).changes) == []


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("Claim", pb.ClaimRequest(), "reviewer"),
        ("Claim", pb.ClaimRequest(reviewer=" "), "reviewer"),
        ("Claim", pb.ClaimRequest(reviewer="a", limit=51), "limit"),
        ("Claim", pb.ClaimRequest(reviewer="a", limit=-1), "limit"),
        ("Claim", pb.ClaimRequest(reviewer="a", lease_seconds=9), "lease_seconds"),
        ("Claim", pb.ClaimRequest(reviewer="a", lease_seconds=3_601), "lease_seconds"),
        ("Claim", pb.ClaimRequest(reviewer="a", order=UNKNOWN), "order"),
        ("Claim", pb.ClaimRequest(reviewer="a", order=pb.ORDER_REVIEWED), "order"),
        ("Claim", pb.ClaimRequest(reviewer="a", request_id="x" * 129), "request_id"),
        ("Queue", pb.QueueRequest(claims=UNKNOWN), "claims"),
        ("Queue", pb.QueueRequest(claims=pb.CLAIM_STATE_MINE), "reviewer"),
        ("Queue", pb.QueueRequest(order=pb.ORDER_REVIEWED_DESC), "order"),
        ("RenewClaims", pb.RenewClaimsRequest(), "lease_ids"),
        ("RenewClaims", pb.RenewClaimsRequest(lease_ids=["x"] * 501), "lease_ids"),
        ("RenewClaims", pb.RenewClaimsRequest(lease_ids=["x"], lease_seconds=1), "lease_seconds"),
        ("ReleaseClaims", pb.ReleaseClaimsRequest(), "lease_ids"),
        ("ReleaseClaims", pb.ReleaseClaimsRequest(lease_ids=["x"], postpone_seconds=604_801), "postpone_seconds"),
        ("ReleaseClaims", pb.ReleaseClaimsRequest(lease_ids=["x"], postpone_seconds=-1), "postpone_seconds"),
    ],
)
def test_what_no_claim_can_mean_is_refused_by_its_field(
    quiet_server: Server, method: str, request_: Any, field: str
) -> None:
    failure = failure_of(lambda: getattr(quiet_server.stub, method)(request_))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]


def test_a_claim_and_a_list_tell_how_many_others_were_asked_the_same(stopped_server: Server) -> None:
    prompt = [{"role": "user", "content": "Why?"}]
    write_records(stopped_server.candidates, [record(f"c{n}", prompt_messages=prompt) for n in range(3)])
    server = stopped_server.start()
    assert [one.candidate.same_prompt for one in claim(server, limit=2)] == [2, 2]
    assert [one.same_prompt for one in server.stub.ListCandidates(pb.ListCandidatesRequest()).items] == [2, 2, 2]
