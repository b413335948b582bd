"""Watch: every change of the store once, in order, as it commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Candidate, CandidateFilter
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.core.watch import Stretch, WatchQuery, begin_watch, complete, cut, level_at, watch_token
from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.change_hub import ChangeHub
from avocet_grpc.edge.changes import change_message
from avocet_grpc.edge.claims import show_claims
from avocet_grpc.edge.convert import candidate_message

AIM_BYTES = 512 * 1024
"""A response ends here, so that a watch that does not read holds no more of it in the server."""

Wanted = tuple[HistoryCursor, CandidateFilter, frozenset[str], bool, bool]


@dataclass(frozen=True, slots=True)
class Made:
    """One response as bytes, the cursor at its end, and whether it has changes."""

    response: bytes
    end: HistoryCursor
    has_changes: bool


class Watching:
    """All watches of one server. Those that ask for the same and stand at the same place share each response."""

    def __init__(self, backend: Backend, hub: ChangeHub) -> None:
        self._backend, self._hub = backend, hub
        self._shared: dict[Wanted, asyncio.Task[Made]] = {}
        self._shared_end = complete(0)

    async def watch(self, query: WatchQuery) -> AsyncIterator[bytes]:
        """Yield the responses of one watch, serialized."""
        at = await self._backend.read(partial(begin_watch, query=query))
        loop = asyncio.get_running_loop()
        self._hub.join()
        try:
            yield _response(query, [], at)
            due = loop.time() + query.heartbeat_seconds
            while True:
                made = await self._next(query, await self._hub.after(at, due - loop.time()))
                at = made.end
                if made.has_changes or loop.time() >= due:
                    yield made.response
                    due = loop.time() + query.heartbeat_seconds
        finally:
            self._hub.leave()

    async def _next(self, query: WatchQuery, found: Stretch) -> Made:
        if not found.entries or not self._hub.is_level(found.end):
            return await self._make(query, found)
        if found.end != self._shared_end:
            self._shared, self._shared_end = {}, found.end
        wanted = (found.begin, query.filter, query.actions, query.include_candidates, query.include_record)
        making = self._shared.get(wanted)
        if making is None:
            making = self._shared[wanted] = asyncio.create_task(self._make(query, found))
        return await asyncio.shield(making)

    async def _make(self, query: WatchQuery, found: Stretch) -> Made:
        asked = any(_is_asked_for(query, entry) for entry in found.entries)
        if asked and (query.filter or query.include_candidates):
            return await self._backend.read(lambda reader: _made(query, found, partial(_with_candidate, reader, query)))
        return _made(query, found, change_message)


def _made(query: WatchQuery, found: Stretch, message: Callable[[HistoryEntry], pb.Change | None]) -> Made:
    """Return the response with the first of these changes, as many as it holds; at least one that is wanted."""
    changes: list[pb.Change] = []
    size = 0
    for count, entry in enumerate(found.entries):
        if not _is_asked_for(query, entry) or (change := message(entry)) is None:
            continue
        size += change.ByteSize()
        if changes and size > AIM_BYTES:
            found = cut(found, count)
            break
        changes.append(change)
    return Made(_response(query, changes, found.end), found.end, bool(changes))


def _is_asked_for(query: WatchQuery, entry: HistoryEntry) -> bool:
    return not query.actions or entry.action in query.actions


def _with_candidate(reader: TeamReader, query: WatchQuery, entry: HistoryEntry) -> pb.Change | None:
    """Return the change with its candidate, as it is now; None if the filter does not pass it."""
    candidate: Candidate | None = reader.candidate(entry.id)
    if candidate is not None and query.filter and not reader.listing.passing([candidate.key], query.filter):
        return None
    change = change_message(entry)
    if candidate is not None and query.include_candidates:
        change.candidate.CopyFrom(candidate_message(candidate, include_record=query.include_record))
        show_claims(reader, [(candidate, change.candidate)])
    return change


def _response(query: WatchQuery, changes: list[pb.Change], end: HistoryCursor) -> bytes:
    response = pb.WatchResponse(changes=changes, revision=level_at(end), resume_token=watch_token(query, end))
    return response.SerializeToString()
