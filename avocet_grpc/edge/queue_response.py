"""Queue and ListRuns: a page as its response."""

from __future__ import annotations

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import RunNotFound
from avocet_grpc.core.model import ANSWER_BYTES, QueueItem
from avocet_grpc.core.ports.runs import Run, Runs
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.queue import QueuePage, queue_page, queue_token
from avocet_grpc.core.runs import runs_page
from avocet_grpc.edge.candidate_cache import CandidateCache, Encoded
from avocet_grpc.edge.claims import show_claims
from avocet_grpc.edge.parse import QueueQuery
from avocet_grpc.edge.same_prompt import fill_same_prompt
from avocet_grpc.edge.wire import length_delimited

ITEMS: int = pb.QueueResponse.DESCRIPTOR.fields_by_name["items"].number


def queue_response(reader: TeamReader, query: QueueQuery, cache: CandidateCache) -> bytes:
    """Return one page of the queue as the bytes of a QueueResponse. It ends at 3 MB; a larger record comes alone."""
    page = queue_page(reader, query.filter, query.order, query.page, query.per_page, query.page_token, query.held)
    encoded = _fitting(page.items, cache, query.include_record)
    others = [pb.Candidate(prompt_digest=one.prompt_digest) for one in encoded]
    fill_same_prompt(reader, others)
    show_claims(reader, [(item.candidate, message) for item, message in zip(page.items, others, strict=False)])
    # A message in two parts is the sum of its fields.
    messages = (one.message + more.SerializeToString() for one, more in zip(encoded, others, strict=True))
    items = _first([length_delimited(ITEMS, message) for message in messages])
    last = page.items[len(items) - 1] if items else None
    response = pb.QueueResponse(
        total=page.total,
        page=page.page,
        per_page=page.per_page,
        next_page_token=_next_token(query, page, last, len(items)),
    )
    return b"".join(items) + response.SerializeToString()


def _fitting(items: list[QueueItem], cache: CandidateCache, include_record: bool) -> list[Encoded]:
    encoded: list[Encoded] = []
    size = 0
    for item in items:
        one = cache.encoded(item.candidate, include_record=include_record)
        size += len(one.message)
        if encoded and size > ANSWER_BYTES:
            break
        encoded.append(one)
    return encoded


def _first(items: list[bytes]) -> list[bytes]:
    """Return the items up to 3 MB, and at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(item)
        if count and size > ANSWER_BYTES:
            return items[:count]
    return items


def _next_token(query: QueueQuery, page: QueuePage, last: QueueItem | None, sent: int) -> str:
    if last is None or (sent == len(page.items) and not page.more):
        return ""
    return queue_token(query.filter, query.order, last.position, page.page + 1, query.held)


def described_runs(runs: Runs, page_size: int, page_token: str) -> tuple[list[Run], str]:
    """Return one page of runs with their counts; one that vanishes meanwhile is left out."""
    names, token = runs_page(runs, page_size, page_token)
    described: list[Run] = []
    for name in names:
        try:
            described.append(runs.describe(name))
        except RunNotFound:
            continue
    return described, token
