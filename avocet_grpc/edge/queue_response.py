"""Queue and ListRuns: a page as its response."""

from __future__ import annotations

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import RunNotFound
from avocet_grpc.core.model import QueueItem
from avocet_grpc.core.ports.runs import Run, Runs
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.queue import QueuePage, queue_page, queue_token
from avocet_grpc.core.runs import runs_page
from avocet_grpc.edge.claims import show_claims
from avocet_grpc.edge.convert import candidate_message
from avocet_grpc.edge.parse import QueueQuery
from avocet_grpc.edge.same_prompt import fill_same_prompt

MAX_BYTES = 3_000_000


def queue_response(reader: TeamReader, query: QueueQuery) -> pb.QueueResponse:
    """Return one page of the queue, which ends at 3 MB; a larger record comes alone."""
    page = queue_page(reader, query.filter, query.order, query.page, query.per_page, query.page_token, query.held)
    messages, last = _fitting(page.items, query.include_record)
    fill_same_prompt(reader, messages)
    show_claims(reader, [(item.candidate, message) for item, message in zip(page.items, messages, strict=False)])
    return pb.QueueResponse(
        items=messages,
        total=page.total,
        page=page.page,
        per_page=page.per_page,
        next_page_token=_next_token(query, page, last, len(messages)),
    )


def _fitting(items: list[QueueItem], include_record: bool) -> tuple[list[pb.Candidate], QueueItem | None]:
    messages: list[pb.Candidate] = []
    size, last = 0, None
    for item in items:
        message = candidate_message(item.candidate, include_record=include_record)
        size += message.ByteSize() + 8
        if messages and size > MAX_BYTES:
            break
        messages.append(message)
        last = item
    return messages, last


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
