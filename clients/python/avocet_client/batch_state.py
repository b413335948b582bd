"""Many decisions without any I/O: the pieces that they are sent in, and what became of each decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from avocet_client.calls import Call, new_request_id, submit, timeout_of
from avocet_client.connection import Metadata
from avocet_client.errors import CorrectionsError, InvalidField, RequestTooLarge, TransportError, error_of_status
from avocet_client.requests import check_size, sendable
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import Action, FailureCategory, Status, counted, status_word

PIECE_DECISIONS = 500
PIECE_BYTES = 4_000_000
REQUEST_ID_LENGTH = 100
"""How long a request id may be here: each piece beyond the first adds its number."""
LARGEST_NUMBER = 20
"""How many characters the number of a piece may add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision for `submit_many`. The fields are those of `CorrectionsClient.submit`."""

    id: str
    action: Action
    corrected_response: str = ""
    corrected_message: Mapping[str, Any] | None = None
    failure_category: FailureCategory | None = None
    reviewer: str = ""
    expected_revision: int | None = None
    lease_id: str = ""


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """What became of one decision: the candidate's new `revision` and `status`, or the `error` that refused it."""

    id: str
    revision: int = 0
    error: CorrectionsError | None = None
    status: Status | None = None


class Batch:
    """Many decisions. One that cannot be sent is in no call, and has its error among the results.

    Raises ValueError for a word that does not exist, or a request id that is too long, and InvalidField for one that
    is not text.
    """

    def __init__(self, decisions: Iterable[Decision], request_id: str | None) -> None:
        self._request_id = request_id or new_request_id()
        if len(self._request_id) > REQUEST_ID_LENGTH:
            length = len(self._request_id)
            raise ValueError(f"request_id has {length} characters; submit_many takes at most {REQUEST_ID_LENGTH}")
        largest = sendable(pb.BatchSubmitRequest)(request_id=self._request_id + " " * LARGEST_NUMBER)
        self._decisions = [(decision.id, _wire(decision, largest)) for decision in decisions]

    def calls(self, timeout: float | None, metadata: Metadata) -> Iterator[Call[list[DecisionResult]]]:
        """The calls that send the decisions, in order, each of at most 500 decisions and some 4 MB.

        The same decisions with the same request id make the same calls, so a repeated batch is decided once.
        """
        first, seconds = self._request_id, timeout_of("BatchSubmit", timeout)
        wires = [wire for _, wire in self._decisions if isinstance(wire, pb.SubmitRequest)]
        for number, piece in enumerate(_pieces(wires)):
            request = pb.BatchSubmitRequest(decisions=piece, request_id=f"{first}/{number}" if number else first)
            yield Call("BatchSubmit", request, seconds, _reader(request), metadata, first)

    def results(self, answered: Iterable[DecisionResult]) -> list[DecisionResult]:
        """Return what became of each decision, in order; `answered` has what all calls returned."""
        answers = iter(answered)
        return [
            DecisionResult(id, error=wire) if isinstance(wire, CorrectionsError) else next(answers)
            for id, wire in self._decisions
        ]


def _pieces(decisions: list[pb.SubmitRequest]) -> Iterator[list[pb.SubmitRequest]]:
    piece: list[pb.SubmitRequest] = []
    size = 0
    for decision in decisions:
        if piece and (len(piece) == PIECE_DECISIONS or size + decision.ByteSize() > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(decision)
        size += decision.ByteSize()
    if piece:
        yield piece


def request_of(decision: Decision) -> pb.SubmitRequest:
    """Return the decision as the wire has it, without a request id.

    Raises InvalidField for half a character in a text, and ValueError for a word that does not exist or a number that
    is too large.
    """
    request: pb.SubmitRequest = submit(
        decision.id,
        action=decision.action,
        corrected_response=decision.corrected_response,
        corrected_message=decision.corrected_message,
        failure_category=decision.failure_category,
        reviewer=decision.reviewer,
        lease_id=decision.lease_id,
        expected_revision=decision.expected_revision,
    ).request
    request.request_id = ""
    return request


def _wire(decision: Decision, batch: pb.BatchSubmitRequest) -> pb.SubmitRequest | CorrectionsError:
    """Return the decision as the wire has it, or why it cannot be sent, not even alone in `batch`."""
    try:
        request = request_of(decision)
        check_size("BatchSubmit", pb.BatchSubmitRequest(decisions=[request], request_id=batch.request_id))
    except (InvalidField, RequestTooLarge) as error:
        error.request_id = ""  # a decision of a batch has none
        return error
    return request


def _reader(request: pb.BatchSubmitRequest) -> Any:
    def results(response: pb.BatchSubmitResponse) -> list[DecisionResult]:
        if len(response.results) != len(request.decisions):
            given, wanted = counted(len(response.results), "result"), counted(len(request.decisions), "decision")
            raise TransportError(f"The server gave {given} for {wanted}.")
        return [_result(one.id, result) for one, result in zip(request.decisions, response.results, strict=True)]

    return results


def _result(id: str, result: pb.BatchSubmitResult) -> DecisionResult:
    if result.HasField("error"):
        return DecisionResult(id, error=error_of_status(result.error))
    return DecisionResult(id, result.candidate.revision, status=status_word(result.candidate))
