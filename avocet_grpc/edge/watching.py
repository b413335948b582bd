"""Watch: every change of the store once, in order, as it commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Candidate, CandidateFilter
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, NoRoom, Reads
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.watch import Stretch, WatchQuery, begin_watch, complete, cut, level_at, watch_token
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.call_context import answers
from avocet_grpc.edge.change_hub import LIMIT, ChangeHub
from avocet_grpc.edge.changes import change_message
from avocet_grpc.edge.claims import show_claims
from avocet_grpc.edge.convert import fill_candidate

UNREAD_BYTES = 32 << 20
"""What all watches together hold of responses that nobody reads; gRPC holds each once more."""
LEAST_BYTES, MOST_BYTES = 16 << 10, 512 << 10
"""A response ends between them, by the number of watches. A larger change comes alone."""
FIRST_LOOK = 100
"""Changes that a watch that is far behind reads at first; later about as many as one response holds."""

Wanted = tuple[HistoryCursor, CandidateFilter, frozenset[str], bool, bool, int]


@dataclass(frozen=True, slots=True)
class Made:
    """One response as bytes, the cursor at its end, how many changes lie before that, and whether any is sent."""

    response: bytes
    end: HistoryCursor
    passed: int
    has_changes: bool


class Watching:
    """All watches of one server. Those that ask for the same and stand at the same place share each response."""

    def __init__(self, backend: Backend, hub: ChangeHub) -> None:
        self._backend, self._hub = backend, hub
        self._shared: dict[Wanted, asyncio.Task[Made]] = {}
        self._shared_end = complete(0)

    async def watch(self, query: WatchQuery) -> AsyncIterator[bytes]:
        """Yield the responses of one watch, serialized."""
        at = await self._backend.read_for_stream(partial(begin_watch, query=query))
        loop, look = asyncio.get_running_loop(), FIRST_LOOK
        hold = answers()
        self._hub.join()
        try:
            yield _response(query, [], at)
            due = loop.time() + query.heartbeat_seconds
            while True:
                found = await self._hub.after(at, due - loop.time(), look)
                made = await hold.make(MOST_BYTES, partial(self._next, query, found))
                at, look = made.end, min(LIMIT, max(1, made.passed) * (2 if made.end == found.end else 1))
                if made.has_changes or loop.time() >= due:
                    yield made.response
                    due = loop.time() + query.heartbeat_seconds
                hold.give()
        finally:
            self._hub.leave()

    async def _next(self, query: WatchQuery, found: Stretch, most_bytes: int) -> Made:
        if not found.entries or not self._hub.is_level(found.end):
            return await self._make(query, found, most_bytes)
        if found.end != self._shared_end:
            self._shared, self._shared_end = {}, found.end
        wanted = (found.begin, query.filter, query.actions, query.include_candidates, query.include_record, most_bytes)
        making = self._shared.get(wanted)
        if making is None or _has_failed(making):
            making = self._shared[wanted] = asyncio.create_task(self._make(query, found, most_bytes))
        return await asyncio.shield(making)

    async def _make(self, query: WatchQuery, found: Stretch, most_bytes: int) -> Made:
        asked = any(_is_asked_for(query, entry) for entry in found.entries)
        aim = max(LEAST_BYTES, min(MOST_BYTES, UNREAD_BYTES // self._hub.watches))
        if asked and (query.filter or query.include_candidates):

            def make(reader: TeamReader) -> Made:
                return _made(query, found, partial(_with_candidate, reader, query), aim, most_bytes)

            return await self._backend.read_for_stream(Reads(make, (), most_bytes))
        return _made(query, found, change_message, aim, most_bytes)


def _has_failed(making: asyncio.Task[Made]) -> bool:
    """Return whether the response could not be made: it is made again for the next watch that asks for it."""
    return making.done() and (making.cancelled() or making.exception() is not None)


def _made(
    query: WatchQuery, found: Stretch, message: Callable[[HistoryEntry], pb.Change | None], aim: int, most_bytes: int
) -> Made:
    """Return the response with the first of these changes, about `aim` bytes; at least one that is wanted.

    Raises NoRoom if that one has more than `most_bytes`.
    """
    changes: list[pb.Change] = []
    size, passed = 0, len(found.entries)
    for count, entry in enumerate(found.entries):
        if not _is_asked_for(query, entry) or (change := message(entry)) is None:
            continue
        size += change.ByteSize()
        if changes and size > min(aim, most_bytes):
            found, passed = cut(found, count), count
            break
        if size > most_bytes:
            raise NoRoom(size)
        changes.append(change)
    return Made(_response(query, changes, found.end), found.end, passed, bool(changes))


def _is_asked_for(query: WatchQuery, entry: HistoryEntry) -> bool:
    return not query.actions or entry.action in query.actions


def _with_candidate(reader: TeamReader, query: WatchQuery, entry: HistoryEntry) -> pb.Change | None:
    """Return the change with its candidate, as it is now; None if the filter does not pass it."""
    candidate: Candidate | None = reader.candidate(entry.id)
    if candidate is not None and query.filter and not reader.listing.passing([candidate.key], query.filter):
        return None
    change = change_message(entry)
    if candidate is not None and query.include_candidates:
        fill_candidate(change.candidate, candidate, include_record=query.include_record)
        show_claims(reader, [(candidate, change.candidate)])
    return change


def _response(query: WatchQuery, changes: list[pb.Change], end: HistoryCursor) -> bytes:
    response = pb.WatchResponse(changes=changes, revision=level_at(end), resume_token=watch_token(query, end))
    return response.SerializeToString()
