"""A bulk ingest without any I/O: which messages to send, which still wait for their results, what to send again.

Each correction has its request id from the moment it is read, so what is sent again after a break is stored once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from avocet_client.calls import new_request_id
from avocet_client.errors import CorrectionsError, InvalidField, RequestTooLarge, TransportError, error_of_status
from avocet_client.requests import check_size, sendable
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


class _Batch:
    """The corrections of one message. One that cannot be sent is not in the message, and has its error here."""

    def __init__(self) -> None:
        self.message = pb.StreamIngestRequest()
        self.corrections: list[tuple[Correction, CorrectionsError | None]] = []
        self._size = 0

    def has_room(self, size: int) -> bool:
        return not self.corrections or self._size + size <= MESSAGE_BYTES

    @property
    def is_full(self) -> bool:
        return len(self.corrections) >= MESSAGE_ITEMS

    def add(self, correction: Correction, part: pb.StreamIngestRequest | CorrectionsError, size: int) -> None:
        if isinstance(part, CorrectionsError):
            self.corrections.append((correction, part))
        else:
            self.corrections.append((correction, None))
            self.message.MergeFrom(part)
            self._size += size


class IngestState:
    """The state of one bulk ingest."""

    def __init__(self) -> None:
        self._filling = _Batch()
        self._pending: deque[_Batch] = deque()
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
        part = _part(correction)
        size = 0 if isinstance(part, CorrectionsError) else part.ByteSize()
        message = None if self._filling.has_room(size) else self.flush()
        self._filling.add(correction, part, size)
        return self.flush() if message is None and self._filling.is_full else message

    def flush(self) -> pb.StreamIngestRequest | None:
        """Return the message of what was taken in and not sent, if anything."""
        if not self._filling.corrections:
            return None
        self._pending.append(self._filling)
        self._filling = _Batch()
        return self._pending[-1].message

    def unsettled(self) -> Iterable[pb.StreamIngestRequest]:
        """Return the messages to send again over a new call."""
        return [batch.message for batch in self._pending]

    def receive(self, response: pb.StreamIngestResponse) -> list[IngestResult]:
        """Return the results of the oldest message, in order. Raises TransportError unless each item has one."""
        batch = self._pending.popleft() if self._pending else _Batch()
        if len(response.results) != len(batch.message.items):
            given, wanted = counted(len(response.results), "result"), counted(len(batch.message.items), "correction")
            raise TransportError(f"The server gave {given} for {wanted}.")
        answers = iter(response.results)
        results = [
            IngestResult(index, "", False, error, correction) if error else _result(index, correction, next(answers))
            for index, (correction, error) in enumerate(batch.corrections, self._done)
        ]
        self._done += len(results)
        return results

    def ended(self) -> TransportError:
        """Return the error of a call that ended before all results came."""
        return TransportError("The stream ended before its last results.")


def _part(correction: Correction) -> pb.StreamIngestRequest | CorrectionsError:
    """Return the correction as a message of its own, or why it cannot be sent. Raises TypeError for a wrong type."""
    fields: dict[str, Any] = {name: getattr(correction, name) for name in Correction.__slots__}
    try:
        part = pb.StreamIngestRequest(items=[sendable(pb.IngestRequest)(**fields)])
        check_size("StreamIngest", part, correction.request_id)
    except (InvalidField, RequestTooLarge) as error:
        return error
    return part


def _result(index: int, correction: Correction, result: pb.StreamIngestResult) -> IngestResult:
    error = error_of_status(result.error, correction.request_id) if result.HasField("error") else None
    return IngestResult(index, result.id, result.created, error, correction)
