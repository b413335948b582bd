"""Candidates that are kept as they were encoded: never an old one, never too many, and the response as from scratch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.claims import ClaimRequest, claim
from avocet_grpc.core.model import Candidate
from avocet_grpc.edge import candidate_cache, parse
from avocet_grpc.edge.candidate_cache import CandidateCache
from avocet_grpc.edge.convert import candidate_message, encode_example
from avocet_grpc.edge.queue_response import queue_response
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import import_candidates


def candidate(key: int = 1, revision: int = 5, **record: Any) -> Candidate:
    content = {"id": f"c{key}", "status": "needs_review", "prompt_messages": "a question"} | record
    return Candidate(key, json.dumps(content).encode(), revision)


def read(cache: CandidateCache, one: Candidate, *, include_record: bool = False) -> pb.Candidate:
    return pb.Candidate.FromString(cache.encoded(one, include_record=include_record).message)


def test_what_is_kept_is_served_again_and_only_while_line_and_revision_are_the_same() -> None:
    cache = CandidateCache()
    for one in (candidate(), candidate(), candidate(revision=6), candidate(revision=6, label="a"), candidate()):
        assert read(cache, one) == candidate_message(one)
        assert read(cache, one, include_record=True) == candidate_message(one, include_record=True)
    assert cache.encoded(candidate(), include_record=False) is cache.encoded(candidate(), include_record=False)


def test_the_latest_used_are_kept_up_to_a_size_and_large_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_cache, "MOST_BYTES", 6_000)
    cache = CandidateCache()
    first = cache.encoded(candidate(1), include_record=False)
    for key in range(2, 40):
        cache.encoded(candidate(key), include_record=False)
        assert cache.encoded(candidate(1), include_record=False) is first
        assert sum(map(candidate_cache._size, cache._kept.values())) == cache._size <= 6_000
    assert len(cache._kept) > 2
    large = candidate(50, model_response="x" * candidate_cache.LARGEST_BYTES)
    assert cache.encoded(large, include_record=False) is not cache.encoded(large, include_record=False)


def test_a_page_is_the_same_from_the_cache_and_from_scratch_with_holders_and_equal_prompts() -> None:
    ledger = SqliteLedger(None, encode_example)
    import_candidates(ledger, 30, prompt_messages="the same question")
    ledger.write(lambda tx: claim(tx, ClaimRequest(reviewer="ann", limit=2, lease_seconds=60))).result()
    query, cache = parse.queue_query(pb.QueueRequest(per_page=9)), CandidateCache()

    def page(kept: CandidateCache) -> pb.QueueResponse:
        return pb.QueueResponse.FromString(ledger.read(lambda r: queue_response(r, query, kept)))

    first = page(cache)
    assert first == page(cache) == page(CandidateCache())
    assert [item.same_prompt for item in first.items] == [29] * 9
    assert [item.claim.reviewer for item in first.items] == ["ann", "ann"] + [""] * 7
    assert (first.total, len(first.next_page_token) > 10) == (30, True)
    ledger.close()
