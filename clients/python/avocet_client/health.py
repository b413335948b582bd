"""The standard health call, and its answer in a word."""

from __future__ import annotations

from typing import Any, Literal, cast

from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client.requests import sendable

Health = Literal["serving", "not_serving", "unknown", "service_unknown"]

SERVICE = "avocet.corrections.v1.CorrectionsService"
SECONDS = 10.0


def health_call(channel: Any, service: str) -> tuple[Any, health_pb2.HealthCheckRequest]:
    """The method of a channel, sync or async, and its request."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return stub.Check, sendable(health_pb2.HealthCheckRequest)(service=service)


def health_word(answer: health_pb2.HealthCheckResponse) -> Health:
    """The status of an answer as a word."""
    return cast("Health", health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status).lower())
