"""Where a watch stands, without any I/O: which changes were handed out, and how to go on after a break.

The resume token stands behind the last response of which everything was handed out. What was handed out behind the
token is remembered by its key, since a server may cut its responses otherwise the next time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from typing import Any, TypedDict

from avocet_client.saved_state import check_state, not_whole
from avocet_client.v1 import corrections_pb2 as pb

VERSION = 1

Key = tuple[int, str, int]
"""What names a change: revision, id, file."""


class WatchStateDict(TypedDict):
    """Where a watch stands, in plain values for JSON.

    `request` is a digest of the filter and the actions. Everything up to `revision` was handed out, and so were the
    changes that `taken` names.
    """

    version: int
    request: str
    revision: int
    resume_token: str
    taken: list[Key]


class WatchState:
    """`take` hands out the changes of the responses that `receive` was given, each once over any number of breaks."""

    def __init__(self, request: pb.WatchRequest) -> None:
        self._request = request
        asked = pb.WatchRequest(filter=request.filter, actions=sorted(set(request.actions)))
        self._digest = hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()
        self.revision = request.since_revision
        """Every change up to this revision was handed out."""
        self._token = request.resume_token
        self._taken: list[Key] = []
        self._pending: deque[pb.Change] = deque()
        self._response = pb.WatchResponse()

    def next_request(self) -> pb.WatchRequest:
        """Return the request that goes on behind what was handed out."""
        self._pending.clear()
        request = pb.WatchRequest()
        request.CopyFrom(self._request)
        if self._token:
            request.resume_token, request.since_revision = self._token, 0
        elif self.revision:
            # Of a state that was saved before the first response.
            request.since_revision = self.revision
        return request

    def receive(self, response: pb.WatchResponse) -> None:
        """Take in the next response of the stream; only once all changes before it were taken."""
        known = set(self._taken)
        self._response = response
        self._pending.extend(change for change in response.changes if _key(change) not in known)
        self._settle()

    def take(self) -> pb.Change | None:
        """Return the next change; None if the next response is needed."""
        if not self._pending:
            return None
        change = self._pending.popleft()
        self._taken.append(_key(change))
        self._settle()
        return change

    def state_dict(self) -> WatchStateDict:
        """Return where the watch stands: behind the last change that was taken."""
        return WatchStateDict(
            version=VERSION,
            request=self._digest,
            revision=self.revision,
            resume_token=self._token,
            taken=list(self._taken),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another watch stood.

        Raises ValueError if it had another filter or other actions, or if `state` is not the state of a watch.
        """
        check_state(state, WatchStateDict, VERSION)
        if state["request"] != self._digest:
            raise ValueError("the state is of another watch; ask for the same filter and actions")
        try:
            taken = [(int(revision), str(id), int(file)) for revision, id, file in state["taken"]]
        except (TypeError, ValueError):
            raise not_whole("taken") from None
        self._pending.clear()
        self._token, self.revision, self._taken = state["resume_token"], state["revision"], taken

    def _settle(self) -> None:
        """Move behind the present response once it was handed out whole."""
        if not self._pending:
            self._token, self.revision = self._response.resume_token, self._response.revision
            covered = {_key(change) for change in self._response.changes}
            self._taken = [key for key in self._taken if key not in covered]


def _key(change: pb.Change) -> Key:
    return change.revision, change.id, change.file
