"""BatchSubmit: many decisions as core nouns, and what became of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.batch import BatchRequest, Decided, Outcome, Refused
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import Decision
from avocet_grpc.edge import checks, parse
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.enums import STATUS_NUMBERS
from avocet_grpc.edge.status import status_of

MAX_DECISIONS = 500


def batch_request(request: pb.BatchSubmitRequest, sign: Callable[[pb.SubmitRequest], pb.SubmitRequest]) -> BatchRequest:
    """Return the decisions; one whose fields are refused is refused for itself. `sign` fills in who decides."""
    checks.at_least_one("decisions", request.decisions)
    checks.short_list("decisions", request.decisions, MAX_DECISIONS)
    for i, each in enumerate(request.decisions):
        if each.request_id:
            raise InvalidField(f"decisions[{i}].request_id", "must be left out: the batch has one")

    def read(each: pb.SubmitRequest) -> Decision | Refused:
        try:
            return parse.decision(sign(each), principal())
        except InvalidField as error:
            sent = hashlib.blake2b(each.SerializeToString(deterministic=True), digest_size=16)
            return Refused(error.field, error.problem, sent.hexdigest())

    decisions = tuple(read(each) for each in request.decisions)
    return BatchRequest(decisions, checks.request_id(request.request_id), principal())


def batch_response(outcomes: Sequence[Outcome]) -> pb.BatchSubmitResponse:
    """Return one result for each decision, in order."""
    return pb.BatchSubmitResponse(results=[_result(outcome) for outcome in outcomes])


def _result(outcome: Outcome) -> pb.BatchSubmitResult:
    if not isinstance(outcome, Decided):
        return pb.BatchSubmitResult(error=status_of(outcome))
    status = STATUS_NUMBERS[outcome.status]
    return pb.BatchSubmitResult(
        candidate=pb.Candidate(id=outcome.id, status=status, revision=outcome.revision)  # type: ignore[arg-type]
    )
