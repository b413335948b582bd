"""Watches of the in-memory service: every change after where a watch stands, and then those that come."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from avocet_client.testing import checks, reading
from avocet_client.testing.refusals import invalid
from avocet_client.testing.store import Noted, Store, change_message
from avocet_client.testing.tokens import state_of, token_of
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CHANGE_ACTIONS

WATCHED = 1_000
"""Changes in one response of a watch."""


class Watch:
    """One call of `Watch`. It takes the lock for each response alone, so that others go on between them."""

    def __init__(self, store: Store, lock: threading.RLock, request: pb.WatchRequest) -> None:
        self._store, self._lock, self._request = store, lock, request
        checks.not_negative(request, "since_revision")
        if request.since_revision and request.resume_token:
            raise invalid("since_revision", "must be left out together with resume_token")
        self._heartbeat = checks.in_range("heartbeat_seconds", request.heartbeat_seconds or 10, 1, 300)
        checks.filter(request.filter)
        checks.actions(request.actions)
        self._bound = pb.WatchRequest(filter=request.filter, actions=sorted(set(request.actions)))
        self._bound.resume_token = request.resume_token
        reading.since(store, request.since_revision)

    def responses(self) -> Iterator[pb.WatchResponse | None]:
        """Yield the responses, one without changes when nothing else came for long; None: nothing is there now."""
        at = state_of(self._bound, "resume_token")
        if at is None:
            since = self._request.since_revision or self._store.revision
            at = sum(change.revision <= since for change in self._store.changes)
        yield self._stretch(at, at)
        # By real time: who sets the service's clock changes nothing here.
        sent = time.monotonic()
        while True:
            end = min(len(self._store.changes), at + WATCHED)
            if end == at and time.monotonic() < sent + self._heartbeat:
                yield None
                continue
            yield self._stretch(at, end)
            at, sent = end, time.monotonic()

    def _stretch(self, begin: int, end: int) -> pb.WatchResponse:
        """Return the changes from the `begin`-th to the `end`-th that the watch asks for."""
        with self._lock:
            known = self._store.changes
            changes = [self._change(noted) for noted in known[begin:end]]
            level = self._store.revision if end == len(known) else known[end].revision - 1
            shown = [change for change in changes if change is not None]
            return pb.WatchResponse(changes=shown, revision=level, resume_token=token_of(self._bound, end))

    def _change(self, noted: Noted) -> pb.Change | None:
        item, request = self._store.items[noted.id], self._request
        if request.actions and CHANGE_ACTIONS[noted.action] not in request.actions:
            return None
        if not reading.passes(item.record, request.filter):
            return None
        change = change_message(noted)
        if request.include_candidates:
            (candidate,) = reading.served(self._store, [item], include_record=request.include_record)
            change.candidate.CopyFrom(candidate)
        return change
