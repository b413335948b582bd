"""How large a message of each method may be, and which methods take a place among the calls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.edge import wire
from avocet_grpc.edge.message_limits import HEALTH, HEALTH_BYTES, OTHERS_BYTES, PLAIN_BYTES
from tests.operate.support import SERVICE, idle_stream, limited
from tests.support import Server, failure_of

UNKNOWN_FIELD = 1_000
"""No message has a field of this number, and every parser skips it."""
REFLECTION = {
    version: f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha")
}
LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
LIMITS = {
    "health": (f"{HEALTH}Check", b"", HEALTH_BYTES),
    "reflection v1": (REFLECTION["v1"], LIST_SERVICES, OTHERS_BYTES),
    "reflection v1alpha": (REFLECTION["v1alpha"], LIST_SERVICES, OTHERS_BYTES),
    "Stats": (f"/{SERVICE}/Stats", b"", PLAIN_BYTES),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all sizes."""
    server = Server(tmp_path_factory.mktemp("sizes"))
    yield server.start()
    server.kill()


def padded(message: bytes, size: int) -> bytes:
    """The message, with as much in an unknown field that it has exactly `size` bytes."""
    room = size - len(message)
    length = next(each for each in range(room, 0, -1) if len(wire.prefix(UNKNOWN_FIELD, each)) + each == room)
    return message + wire.length_delimited(UNKNOWN_FIELD, bytes(length))


def answers_to(server: Server, path: str, raw: bytes) -> list[bytes]:
    """All answers to one message of raw bytes; a call of one answer is on the wire what a stream of one is."""
    call: Any = server.open_channel.stream_stream(path)
    return list(call(iter([raw]), timeout=60))


@pytest.mark.parametrize(("path", "message", "most"), LIMITS.values(), ids=LIMITS)
def test_a_message_at_its_methods_limit_is_taken_and_one_byte_more_is_not(
    shared: Server, path: str, message: bytes, most: int
) -> None:
    assert len(answers_to(shared, path, padded(message, most))) == 1
    failure = failure_of(lambda: answers_to(shared, path, padded(message, most + 1)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.fields == ["request"] and f"{most:,} bytes" in failure.message


@pytest.mark.parametrize("path", REFLECTION.values(), ids=REFLECTION)
def test_reflection_takes_a_place_among_the_calls_and_health_needs_none(stopped_server: Server, path: str) -> None:
    server = limited(stopped_server, calls=1)
    held = idle_stream(server)
    failure = failure_of(lambda: answers_to(server, path, LIST_SERVICES))
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    health: Any = health_pb2_grpc.HealthStub(server.open_channel)
    # A busy server is not a dead one, and who asks for its health might restart it.
    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert failure_of(lambda: server.stub.Stats(pb.StatsRequest())).reason == "OVERLOADED", "the call was held no more"
    held.cancel()
