"""A bulk ingest without any I/O: which messages to send, which still wait for their results, what to send again.

Each correction has its request id from the moment it is read, so what is sent again after a break is stored once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from avocet_client.calls import new_request_id
from avocet_client.errors import CorrectionsError, TransportError, error_of_status
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import counted

MESSAGE_ITEMS = 200
MESSAGE_BYTES = 1_000_000
WINDOW = 8
"""How many messages wait for their results at most: enough to keep the server's commits full, little to send again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A correction to ingest; the fields of `CorrectionsClient.ingest`. `request_id` is made if none is given."""

    source: str
    task_type: str
    prompt: str
    correction: str
    response: str = ""
    label: str | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of one correction, the `index`-th from 0: stored under `id`, or refused with `error`.

    `created` is False if its `request_id` was stored before.
    """

    index: int
    id: str
    created: bool
    error: CorrectionsError | None
    correction: Correction


class IngestState:
    """The state of one bulk ingest."""

    def __init__(self) -> None:
        self._filling: list[Correction] = []
        self._filling_bytes = 0
        self._pending: deque[list[Correction]] = deque()
        self._done = 0

    @property
    def window_is_full(self) -> bool:
        return len(self._pending) >= WINDOW

    @property
    def waits(self) -> bool:
        """Whether results are outstanding."""
        return bool(self._pending)

    def add(self, correction: Correction) -> pb.StreamIngestRequest | None:
        """Take a correction in. Gives a message to send once it is full."""
        if not correction.request_id:
            correction = replace(correction, request_id=new_request_id())
        size = 4 * sum(len(text) for text in (correction.prompt, correction.response, correction.correction))
        message = self.flush() if self._filling and self._filling_bytes + size > MESSAGE_BYTES else None
        self._filling.append(correction)
        self._filling_bytes += size
        if message is None and len(self._filling) >= MESSAGE_ITEMS:
            return self.flush()
        return message

    def flush(self) -> pb.StreamIngestRequest | None:
        """Return the message of what was taken in and not sent, if anything."""
        if not self._filling:
            return None
        self._pending.append(self._filling)
        self._filling, self._filling_bytes = [], 0
        return _message(self._pending[-1])

    def unsettled(self) -> Iterable[pb.StreamIngestRequest]:
        """Return the messages to send again over a new call."""
        return [_message(corrections) for corrections in self._pending]

    def receive(self, response: pb.StreamIngestResponse) -> list[IngestResult]:
        """Return the results of the oldest message, in order. Raises TransportError unless each item has one."""
        corrections = self._pending.popleft() if self._pending else []
        if len(response.results) != len(corrections):
            given, wanted = counted(len(response.results), "result"), counted(len(corrections), "correction")
            raise TransportError(f"The server gave {given} for {wanted}.")
        pairs = enumerate(zip(corrections, response.results, strict=True), self._done)
        results = [_result(index, *pair) for index, pair in pairs]
        self._done += len(results)
        return results

    def ended(self) -> TransportError:
        """Return the error of a call that ended before all results came."""
        return TransportError("The stream ended before its last results.")


def _message(corrections: list[Correction]) -> pb.StreamIngestRequest:
    return pb.StreamIngestRequest(items=[item_of(correction) for correction in corrections])


def item_of(correction: Correction) -> pb.IngestRequest:
    """Return the correction as the wire has it. Raises TypeError or ValueError for what is not text."""
    fields: dict[str, Any] = {name: getattr(correction, name) for name in Correction.__slots__}
    return pb.IngestRequest(**fields)


def _result(index: int, correction: Correction, result: pb.StreamIngestResult) -> IngestResult:
    error = error_of_status(result.error, correction.request_id) if result.HasField("error") else None
    return IngestResult(index, result.id, result.created, error, correction)
