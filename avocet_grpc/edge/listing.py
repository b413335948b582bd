"""ListCandidates: the request as a core noun, and a page of candidates."""

from __future__ import annotations

from collections.abc import Iterator

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.listing import ListQuery, list_token, scan
from avocet_grpc.core.model import Candidate, Order, Position
from avocet_grpc.core.ports.search import Search
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.edge import checks
from avocet_grpc.edge.claims import show_claims
from avocet_grpc.edge.convert import candidate_message
from avocet_grpc.edge.enums import STATUSES
from avocet_grpc.edge.paging import fill
from avocet_grpc.edge.parse import any_order, candidate_filter
from avocet_grpc.edge.same_prompt import fill_same_prompt

LIST_PAGE = 20
SHORTEST_TEXT = 3


def list_query(request: pb.ListCandidatesRequest) -> ListQuery:
    """Return the candidates that are asked for."""
    by = any_order(request.order)
    if request.text:
        checks.at_most("text", request.text, checks.MAX_STRING)
        if len(request.text) < SHORTEST_TEXT:
            raise InvalidField("text", f"must have at least {SHORTEST_TEXT} characters")
        if by is not Order.FILE:
            raise InvalidField("order", "must be ORDER_FILE together with text")
    numbers = checks.short_list("statuses", request.statuses)
    words = STATUSES | {pb.CANDIDATE_STATUS_UNSPECIFIED: None}
    problem = "must be a value of CandidateStatus"
    return ListQuery(
        statuses=frozenset(checks.known(f"statuses[{i}]", words, number, problem) for i, number in enumerate(numbers)),
        filter=candidate_filter(request.filter),
        text=request.text,
        order=by,
        page_size=checks.page_size("page_size", request.page_size, LIST_PAGE),
        page_token=request.page_token,
        include_record=request.include_record,
    )


def list_response(reader: TeamReader, query: ListQuery, search: Search | None = None) -> pb.ListCandidatesResponse:
    """Return one page of candidates of any status."""
    shown: list[tuple[Candidate, pb.Candidate]] = []
    places, most = scan(reader, query, search)

    def looked_at() -> Iterator[tuple[Position, pb.Candidate | None]]:
        for at, candidate in places:
            if candidate is None:
                yield at, None
                continue
            message = candidate_message(candidate, include_record=query.include_record)
            shown.append((candidate, message))
            yield at, message

    page = fill(looked_at(), query.page_size, most)
    fill_same_prompt(reader, page.items)
    show_claims(reader, shown)
    page.shorten()
    token = "" if page.last is None else list_token(query, page.last)
    return pb.ListCandidatesResponse(items=page.items, next_page_token=token)
