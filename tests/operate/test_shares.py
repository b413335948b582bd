"""One caller leaves calls to others: a token is a caller, and without tokens an address is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.operate.raw import RawConnection
from tests.operate.support import limited, new_token
from tests.operate.test_limits import STATS, answers
from tests.support import Server, bearer, eventually, failure_of


def test_one_caller_leaves_calls_to_others(stopped_server: Server) -> None:
    file = stopped_server.directory / "tokens.yaml"
    greedy, other = new_token(file, "greedy", "ingest"), new_token(file, "other", "reader")
    stopped_server.environment = {
        "AVOCET_LIMIT": "calls=10 calls_per_caller=3",
        "AVOCET_TOKENS_FILE": str(file),
    }
    server = stopped_server.start()
    stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(server.open_channel)
    sent = [pb.StreamIngestRequest(items=[pb.IngestRequest()])]

    def requests() -> Iterator[pb.StreamIngestRequest]:
        yield from sent
        threading.Event().wait(60)

    streams = [stub.StreamIngest(requests(), metadata=bearer(greedy), timeout=60) for _ in range(3)]
    assert all(next(stream).results for stream in streams)
    failure = failure_of(lambda: stub.Ingest(pb.IngestRequest(), metadata=bearer(greedy)))
    assert failure.reason == "OVERLOADED"
    assert stub.Stats(STATS, metadata=bearer(other)).revision
    streams[0].cancel()
    eventually(
        lambda: failure_of(lambda: stub.Ingest(pb.IngestRequest(), metadata=bearer(greedy))).reason == "INVALID_FIELD"
    )


def test_without_tokens_one_address_leaves_calls_to_others(stopped_server: Server) -> None:
    server = limited(stopped_server, calls=10, calls_per_caller=3)
    with ExitStack() as stack:
        # A connection for each, since connections of one address are one caller.
        held = [stack.enter_context(RawConnection(server.address)) for _ in range(3)]
        for connection in held:
            # Else the server would close it once the time for its handshake is over.
            connection.settle()
            connection.call("UploadRun")
            connection.flush()
        eventually(lambda: not answers(server))
        assert failure_of(lambda: server.stub.Stats(STATS)).reason == "OVERLOADED"
        other = stack.enter_context(RawConnection(server.address, source="127.0.0.2"))
        stream = other.call("Stats")
        other.send(stream, b"")
        assert other.status(stream)[0] == "0"
        held[0].socket.close()
        eventually(lambda: answers(server))
