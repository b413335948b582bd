"""Where a watch stands, without any I/O: which changes were handed out, and how to go on after a break."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, TypedDict

from avocet_client.v1 import corrections_pb2 as pb

Key = tuple[int, str, int]
"""What names a change: revision, id, file."""


class WatchStateDict(TypedDict):
    """Where a watch stands; JSON values."""

    resume_token: str
    taken: list[tuple[int, str, int]]


class WatchState:
    """`take` hands out the changes of the responses that `receive` was given, each once over any number of breaks."""

    def __init__(self, request: pb.WatchRequest) -> None:
        self._request = request
        self._token = request.resume_token
        self._next_token = ""
        self._pending: deque[pb.Change] = deque()
        self._received: set[Key] = set()
        self._taken: list[Key] = []
        self.revision = request.since_revision
        """Every change up to this revision was handed out."""
        self._next_revision = self.revision

    def next_request(self) -> pb.WatchRequest:
        """Return the request that goes on behind what was handed out."""
        self._pending.clear()
        request = pb.WatchRequest()
        request.CopyFrom(self._request)
        if self._token:
            request.resume_token, request.since_revision = self._token, 0
        return request

    def receive(self, response: pb.WatchResponse) -> None:
        """The next response of the stream; only once all changes before it were taken."""
        known = set(self._taken)
        self._received = {_key(change) for change in response.changes}
        self._pending.extend(change for change in response.changes if _key(change) not in known)
        self._next_token, self._next_revision = response.resume_token, response.revision
        self._step()

    def take(self) -> pb.Change | None:
        """Return the next change; None if the next response is needed."""
        if not self._pending:
            return None
        change = self._pending.popleft()
        self._taken.append(_key(change))
        self._step()
        return change

    def state_dict(self) -> WatchStateDict:
        """Return where the watch stands: behind the last change that was taken."""
        return {"resume_token": self._token, "taken": list(self._taken)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another watch with the same filter and actions stood."""
        self._pending.clear()
        self._token = state["resume_token"]
        self._taken = [(revision, id, file) for revision, id, file in state["taken"]]

    def _step(self) -> None:
        if not self._pending and self._next_token:
            self._token, self.revision = self._next_token, self._next_revision
            # After a break responses may be cut elsewhere, or be empty: what lies further on stays taken.
            self._taken = [key for key in self._taken if key not in self._received]


def _key(change: pb.Change) -> Key:
    return change.revision, change.id, change.file
