"""Errors: a class for each reason of the wire, filled from the status details, and never told apart by text."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from avocet_client import CorrectionsError, DeadlineExceeded, TransportError, UnknownReason
from avocet_client.errors import BY_REASON, DOMAIN, error_of_call, error_of_status
from avocet_client.v1 import error_reason_pb2

REASONS = [name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()[1:]]


def status(reason: str, domain: str = DOMAIN, **metadata: str) -> status_pb2.Status:
    info, bad = any_pb2.Any(), any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata))
    violation = error_details_pb2.BadRequest.FieldViolation(field="id", description="is missing")
    bad.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return status_pb2.Status(code=3, message="some words", details=[bad, info])


class Failed:
    """What a failed call tells of itself."""

    def __init__(self, code: grpc.StatusCode, trailers: Any) -> None:
        self._code, self._trailers = code, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "words of the transport"

    def trailing_metadata(self) -> Any:
        return self._trailers


def test_every_reason_of_the_wire_has_one_class_below_the_root() -> None:
    assert sorted(BY_REASON) == sorted(REASONS)
    assert len(set(BY_REASON.values())) == len(REASONS)
    assert all(issubclass(kind, CorrectionsError) for kind in BY_REASON.values())


@pytest.mark.parametrize("reason", REASONS)
def test_an_error_is_made_of_the_status_details(reason: str) -> None:
    trailers = (("x", "y"), ("grpc-status-details-bin", status(reason, key="value").SerializeToString()))
    error = error_of_call(Failed(grpc.StatusCode.INVALID_ARGUMENT, trailers), "r-1")
    assert type(error) is BY_REASON[reason]
    assert (error.reason, error.code, error.request_id) == (reason, grpc.StatusCode.INVALID_ARGUMENT, "r-1")
    assert (error.message, error.metadata) == ("some words", {"key": "value"})
    assert [(v.field, v.description) for v in error.field_violations] == [("id", "is missing")]
    assert str(error) == f"some words [{reason}]"


def test_a_reason_that_is_not_known_yet_keeps_its_name() -> None:
    error = error_of_status(status("MOON_TOO_FULL"))
    assert (type(error), error.reason) == (UnknownReason, "MOON_TOO_FULL")


@pytest.mark.parametrize(
    ("code", "trailers", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, None, TransportError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, (), DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, (("grpc-status-details-bin", b"\xff\xff"),), TransportError),
        (
            grpc.StatusCode.NOT_FOUND,
            (("grpc-status-details-bin", status("CANDIDATE_NOT_FOUND", "elsewhere").SerializeToString()),),
            TransportError,
        ),
    ],
)
def test_what_is_not_the_services_answer_is_a_transport_error(code: Any, trailers: Any, kind: Any) -> None:
    error = error_of_call(Failed(code, trailers))
    assert (type(error), error.code, error.reason) == (kind, code, "")
    assert error.message == "words of the transport"


def test_an_error_survives_the_way_from_a_worker_process() -> None:
    error = error_of_status(status("INVALID_FIELD", field="id"), "r-1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
