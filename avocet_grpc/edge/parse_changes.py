"""Requests about changes as core nouns."""

from __future__ import annotations

from collections.abc import Iterable

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.history import HistoryQuery
from avocet_grpc.core.watch import WatchQuery
from avocet_grpc.edge import checks
from avocet_grpc.edge.changes import ACTIONS
from avocet_grpc.edge.parse import candidate_filter, candidate_id

HISTORY_PAGE = 50
HEARTBEAT_SECONDS = 10
HEARTBEATS = range(1, 301)


def history_query(request: pb.ListHistoryRequest) -> HistoryQuery:
    """Return the page of the history that is asked for."""
    checks.not_negative("since_revision", request.since_revision)
    return HistoryQuery(
        id=candidate_id(request.id) if request.id else "",
        actors=checks.strings("actors", request.actors),
        actions=_actions(request.actions),
        since_revision=request.since_revision,
        page_size=checks.page_size("page_size", request.page_size, HISTORY_PAGE),
        page_token=request.page_token,
        oldest_first=request.oldest_first,
    )


def watch_query(request: pb.WatchRequest) -> WatchQuery:
    """Return the watch that is asked for."""
    checks.not_negative("since_revision", request.since_revision)
    if request.since_revision and request.resume_token:
        raise InvalidField("since_revision", "must be left out together with resume_token")
    heartbeat = checks.in_range("heartbeat_seconds", request.heartbeat_seconds or HEARTBEAT_SECONDS, HEARTBEATS)
    return WatchQuery(
        since_revision=request.since_revision,
        resume_token=request.resume_token,
        filter=candidate_filter(request.filter),
        actions=frozenset(_actions(request.actions)),
        include_candidates=request.include_candidates,
        include_record=request.include_record,
        heartbeat_seconds=heartbeat,
    )


def _actions(numbers: Iterable[int]) -> tuple[str, ...]:
    problem = "must be a value of ChangeAction other than unspecified"
    listed = checks.short_list("actions", numbers)
    return tuple(checks.known(f"actions[{i}]", ACTIONS, n, problem).value for i, n in enumerate(listed))
