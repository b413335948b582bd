"""Callers that make the server hold much: the memory is the judge, and a good call is answered meanwhile."""

from __future__ import annotations

import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.memory import FULL, Judged
from tests.operate.raw import RawConnection
from tests.operate.support import SERVICE
from tests.support import SECRET, Server, failure_of

UNFINISHED = 60 if FULL else 30
STUCK = 20
"""How often nothing can be sent before an attacker gives up, each time after 50 ms."""
TOKEN = ("authorization", f"Bearer {SECRET}")
HEALTH = "/grpc.health.v1.Health/"
EACH_SHAPE = {
    "health, one answer": HEALTH + "Check",
    "health, a stream": HEALTH + "Watch",
    "reflection, both streams": "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "one answer": f"/{SERVICE}/Stats",
    "one answer, texts": f"/{SERVICE}/Ingest",
    "a stream": f"/{SERVICE}/StreamExport",
    "both streams": f"/{SERVICE}/StreamIngest",
}


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all, which each test must leave well."""
    server = Server(tmp_path_factory.mktemp("abused"))
    server.start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


def push(connection: RawConnection, streams: list[int], size: int) -> int:
    """Send up to `size` bytes on each stream as far as flow control lets it, and never an end. Gives what was sent."""
    part, sent = b"\0" * 16_384, dict.fromkeys(streams, 0)
    stuck = 0
    while connection.open and stuck < STUCK and min(sent.values()) < size:
        moved = False
        for stream in streams:
            while sent[stream] < size and connection.open:
                room = min(connection.http.local_flow_control_window(stream), len(part), size - sent[stream])
                if room <= 0:
                    break
                connection.http.send_data(stream, part[:room])
                sent[stream] += room
                moved = True
                if sent[stream] % (1 << 18) < 16_384:
                    connection.flush()
        connection.flush()
        while connection.receive(0.001):
            pass
        stuck = 0 if moved else stuck + 1
        time.sleep(0 if moved else 0.05)
    return sum(sent.values())


@pytest.mark.parametrize("path", EACH_SHAPE.values(), ids=EACH_SHAPE)
def test_unfinished_messages_of_16_mb(abused: Server, path: str) -> None:
    send_unfinished(abused, path, UNFINISHED)


def send_unfinished(server: Server, path: str, count: int) -> None:
    sent = 0
    with Judged(server, f"{count} unfinished messages to {path}"), ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(RawConnection(server.address))
            stream = connection.call("", TOKEN, path=path)
            connection.http.send_data(stream, b"\0" + (16 << 20).to_bytes(4, "big"))
            try:
                sent += push(connection, [stream], 15 << 20)
            except Exception as error:  # h2 speaks of streams that the server has ended
                assert "Stream" in type(error).__name__, error
    print(f"{sent >> 20} MB sent")


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_many_health_calls_that_send_nothing(abused: Server, method: str) -> None:
    connections = 200 if FULL else 60
    with Judged(abused, f"{connections * 250} silent calls of health's {method}"), ExitStack() as stack:
        for _ in range(connections):
            connection = stack.enter_context(RawConnection(abused.address))
            connection.settle()
            for _ in range(250):
                connection.call("", path=HEALTH + method)
            connection.flush()
            while connection.receive(0.05):
                pass


@pytest.mark.parametrize("path", [f"/{SERVICE}/Ingest", f"/{SERVICE}/StreamIngest"])
def test_unfinished_messages_of_16_mb_on_a_unix_socket(tmp_path: Path, path: str) -> None:
    server = Server(tmp_path)
    server.listen = f"unix:{tmp_path}/socket"
    server.start()
    try:
        # The kernel does not count what arrives on such a socket. All 60 messages would take 1 GB.
        send_unfinished(server, path, 60)
    finally:
        assert server.stop() == 0


def test_a_stream_that_waits_on_a_unix_socket_outlives_large_requests_of_others(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.listen = f"unix:{tmp_path}/socket"
    server.start()
    try:
        small = pb.StreamIngestRequest(items=[pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")])
        large = pb.IngestRequest(source="s", task_type="t", prompt="p" * 4_000_000, correction="c" * 4_000_000)
        done = threading.Event()

        def requests() -> Iterator[pb.StreamIngestRequest]:
            yield small
            done.wait(100)
            yield small

        stream = server.stub.StreamIngest(requests(), metadata=(TOKEN,), timeout=200)
        assert next(stream).results[0].created
        for _ in range(6):
            assert server.stub.Ingest(large, metadata=(TOKEN,), timeout=60).created
        done.set()
        assert [result.created for answer in stream for result in answer.results] == [True]
    finally:
        assert server.stop() == 0


def test_many_streams_of_16_mb_that_never_end(abused: Server) -> None:
    connections = 4 if FULL else 2
    with Judged(abused, f"{connections * 250} streams that never end"), ExitStack() as stack:
        sent = 0
        for _ in range(connections):
            connection = stack.enter_context(RawConnection(abused.address))
            connection.settle()
            streams = [connection.call("StreamIngest", TOKEN) for _ in range(250)]
            for stream in streams:
                connection.http.send_data(stream, b"\0" + (16 << 20).to_bytes(4, "big"))
            try:
                sent += push(connection, streams, (15 << 20) if FULL else (2 << 20))
            except Exception as error:
                assert "Stream" in type(error).__name__, error
        print(f"{sent >> 20} MB sent")


def many_empty(path: str) -> bytes:
    if path.endswith("StreamIngest"):
        return b"\x0a\x00" * 7_800_000
    return b"\x0a" + _varint(15_600_000) + b"\x0a\x00" * 7_800_000


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("method", ["Stats", "StreamExport", "StreamIngest", "Ingest"])
def test_small_messages_that_unpack_to_millions_of_empty_elements(abused: Server, method: str) -> None:
    bomb = gzip.compress(many_empty(method))
    assert len(bomb) < 64 << 10
    with Judged(abused, f"40 gzipped messages of empty elements to {method}"), RawConnection(abused.address) as raw:
        streams = [raw.call(method, TOKEN, ("grpc-encoding", "gzip")) for _ in range(40)]
        for stream in streams:
            raw.send(stream, bomb, compressed=True)
        statuses = {raw.status(stream)[0] for stream in streams}
        assert statuses <= {"3", "8"}


@pytest.mark.parametrize("method", ["Stats", "StreamExport", "StreamIngest", "Ingest"])
def test_messages_of_a_million_empty_elements(abused: Server, method: str) -> None:
    call: Any = abused.open_channel.unary_unary(f"/{SERVICE}/{method}")
    body = (
        many_empty(method)[-2_000_000:] if method == "StreamIngest" else b"\x0a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000
    )
    body = body[: 4 + 2_000_000]
    with Judged(abused, f"40 messages of a million empty elements to {method}"):
        futures = [call.future(body, metadata=(TOKEN,), timeout=60) for _ in range(40)]
        reasons = {failure_of(future.result).reason for future in futures}
        assert reasons <= {"INVALID_FIELD", "OVERLOADED"}


def test_a_gzip_bomb_is_refused_within_the_methods_limit(abused: Server) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20))
    with Judged(abused, "gzip bombs of 200 MB"), RawConnection(abused.address) as raw:
        for path in (f"/{SERVICE}/Stats", HEALTH + "Check", f"/{SERVICE}/Ingest"):
            stream = raw.call("", TOKEN, ("grpc-encoding", "gzip"), path=path)
            raw.send(stream, bomb, compressed=True)
            assert raw.status(stream)[0] == "3"


@pytest.mark.parametrize("path", [f"/{SERVICE}/Stats", HEALTH + "Check", f"/{SERVICE}/Ingest"])
def test_a_deflated_message_is_refused_and_never_unpacked(abused: Server, path: str) -> None:
    # It fits into the window: a call that was refused by its headers takes off no more.
    bomb = zlib.compress(b"\0" * (50 << 20), 9)
    assert len(bomb) < 60_000
    with Judged(abused, "a deflated bomb of 50 MB"), RawConnection(abused.address) as raw:
        stream = raw.call("", TOKEN, ("grpc-encoding", "deflate"), path=path)
        raw.send(stream, bomb, compressed=True)
        assert raw.status(stream)[0] == str(grpc.StatusCode.UNIMPLEMENTED.value[0])


def test_streams_of_full_messages_whose_answers_nobody_reads(abused: Server) -> None:
    item = pb.IngestRequest(source="s", task_type="t", prompt="p" * 1000)
    message = pb.StreamIngestRequest(items=[item] * 1000).SerializeToString() + b"\0" * 0
    with Judged(abused, "streams of refused items whose answers nobody reads"), ExitStack() as stack:
        for _ in range(20 if FULL else 10):
            connection = stack.enter_context(RawConnection(abused.address))
            stream = connection.call("StreamIngest", TOKEN)
            framed = b"\0" + len(message).to_bytes(4, "big") + message
            try:
                for _ in range(10):
                    left = framed
                    for _ in range(2_000):
                        room = min(connection.http.local_flow_control_window(stream), 16_384, len(left))
                        if room > 0:
                            connection.http.send_data(stream, left[:room])
                            left = left[room:]
                        connection.flush()
                        if not left:
                            break
                        if room <= 0 and not connection.receive(0.2):
                            raise BlockingIOError
            except BlockingIOError:
                pass


def test_a_compressed_request_is_an_ordinary_one(abused: Server) -> None:
    item = pb.IngestRequest(source="s", task_type="t", prompt="p" * 100_000, correction="c")
    assert abused.stub.Ingest(item, metadata=(TOKEN,), compression=grpc.Compression.Gzip).created
    assert abused.stub.Stats(pb.StatsRequest(), compression=grpc.Compression.Gzip).total > 0


def test_a_full_message_is_taken(tmp_path: Path) -> None:
    item = pb.IngestRequest(
        source="s", task_type="t", prompt="p" * 4_000_000, response="\u4f60" * 1_500_000, correction="c" * 4_000_000
    )
    # Its own server: how much free memory attacks leave between used pieces differs by tens of MB from run to run.
    server = Server(tmp_path)
    server.start()
    try:
        with Judged(server, "four messages of 12 MB"):
            for _ in range(4):
                assert server.stub.Ingest(item, metadata=(TOKEN,), timeout=60).created
    finally:
        assert server.stop() == 0
