"""HTTP/2 as an enemy speaks it: the server stays alive, its memory flat, and a good call is answered meanwhile."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.operate.raw import RawConnection
from tests.operate.support import SERVICE, answers_soon, resident_bytes
from tests.support import SECRET, Server, bearer, failure_of

GROWTH = 150 << 20
"""Bytes by which the server may grow under abuse: less than half of what the large messages have together."""


@pytest.fixture(scope="module")
def abused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all, which each test must leave well."""
    server = Server(tmp_path_factory.mktemp("abused"))
    server.environment = {"AVOCET_LIMIT": "handshake_seconds=5"}
    server.start()
    for number in range(200):
        server.ingest(pb.IngestRequest(source="s", task_type="t", prompt=f"p{number}", correction="c" * 100_000))
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


class Meanwhile:
    """Makes good calls until the block ends: each must come within a second, and the server must not have grown."""

    def __init__(self, server: Server, growth: int = GROWTH) -> None:
        self._growth = growth
        self._server = server
        self._end = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._call)
        self.calls = 0

    def __enter__(self) -> Meanwhile:
        answers_soon(self._server)
        self._before = resident_bytes(self._server)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if kind is None:
            assert not self._failed and self.calls > 0
            assert resident_bytes(self._server) - self._before < self._growth

    def _call(self) -> None:
        while True:
            try:
                answers_soon(self._server)
                self.calls += 1
            except BaseException as error:
                self._failed.append(error)
            if self._end.wait(0.02):
                return


def test_rapid_resets(abused: Server) -> None:
    sent = 0
    with Meanwhile(abused):
        while sent < 3_000:
            with RawConnection(abused.address) as connection:
                while connection.open and connection.is_going_away() is None and sent < 3_000:
                    for _ in range(50):
                        connection.http.reset_stream(connection.call("Stats"), error_code=8)
                    sent += 50
                    connection.flush()
                    while connection.receive(0.001):
                        pass


def test_a_flood_of_pings_and_settings(abused: Server) -> None:
    flooded = 0
    with Meanwhile(abused):
        for _ in range(20):
            with RawConnection(abused.address) as connection:
                for number in range(500):
                    connection.http.ping(number.to_bytes(8, "big"))
                    connection.http.update_settings({4: 65_535 + number})
                connection.flush()
                while connection.receive(0.2):
                    pass
                flooded += connection.is_going_away() is not None or not connection.open
    assert flooded == 20


@pytest.mark.parametrize("settled", [True, False])
def test_headers_of_40_and_80_kilobytes_and_thousands_of_small_ones(abused: Server, settled: bool) -> None:
    bombs = [
        [("x-filler", "x" * 40_000)],
        [("x-filler", "x" * 80_000)],
        [(f"x-{number}", "v" * 20) for number in range(2_000)],
    ]
    with Meanwhile(abused):
        for extra in bombs * 3:
            with RawConnection(abused.address) as connection:
                if settled:
                    connection.settle()
                stream = connection.call("Stats", *extra)
                connection.send(stream, b"")
                if settled:
                    assert connection.status(stream)[0] in ("8", "reset")
                else:
                    connection.receive()


def test_messages_too_large_garbled_or_without_end(abused: Server) -> None:
    stats: Any = abused.open_channel.unary_unary(f"/{SERVICE}/Stats")
    with Meanwhile(abused):
        for _ in range(15):
            assert failure_of(lambda: stats(b"\xff" * 5_000_000)).reason == "INVALID_FIELD"
            too_large = failure_of(lambda: stats(b"\0" * 17_000_000))
            assert too_large.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        with ExitStack() as stack:
            # Each announces 16 MB, sends a little of it, and leaves it there.
            for _ in range(100):
                connection = stack.enter_context(RawConnection(abused.address))
                stream = connection.call("Ingest", ("authorization", f"Bearer {SECRET}"))
                connection.http.send_data(stream, b"\0" + (16_000_000).to_bytes(4, "big") + b"x" * 10_000)
                connection.flush()
            time.sleep(1)


def test_a_small_message_that_unpacks_to_a_large_one(abused: Server) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20))
    assert len(bomb) < 1 << 20
    with Meanwhile(abused), RawConnection(abused.address) as connection:
        for _ in range(3):
            stream = connection.call("Stats", ("grpc-encoding", "gzip"))
            connection.send(stream, bomb, compressed=True)
            assert connection.status(stream)[0] != "0"


def test_silent_sockets_and_calls_that_say_nothing(abused: Server) -> None:
    host, _, port = abused.address.rpartition(":")
    with ExitStack() as stack, Meanwhile(abused):
        for _ in range(300):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        for _ in range(10):
            connection = stack.enter_context(RawConnection(abused.address))
            for _ in range(50):
                connection.call("Stats")
            connection.flush()
        time.sleep(1)


def test_ten_thousand_wrong_tokens(abused: Server) -> None:
    total = abused.stats().total

    def guess(worker: int) -> int:
        with grpc.insecure_channel(abused.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = corrections_pb2_grpc.CorrectionsServiceStub(channel)
            refused = 0
            for number in range(2_500):
                call = stub.Ingest.future(pb.IngestRequest(), metadata=bearer(f"guess-{worker}-{number}"))
                refused += call.code() == grpc.StatusCode.PERMISSION_DENIED
            return refused

    with Meanwhile(abused), ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(guess, range(4))) == 10_000
    assert abused.stats().total == total


def test_readers_of_an_export_that_stop_reading(abused: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        # Each of the server's readers fills its own cache first: what grows then is what is kept for the slow ones.
        assert all(pool.map(lambda _: list(abused.stub.StreamExport(pb.StreamExportRequest())), range(48)))
    # A reader holds one batch; all of the export would be 20 MB for each.
    with Meanwhile(abused, growth=20 * (8 << 20)), ExitStack() as stack:
        connections = [stack.enter_context(RawConnection(abused.address)) for _ in range(20)]
        for connection in connections:
            connection.send(connection.call("StreamExport"), b"")
        time.sleep(1)
        quick = list(abused.stub.StreamExport(pb.StreamExportRequest()))
        assert quick[-1].summary.example_count >= 200


def test_garbage_in_place_of_http(abused: Server) -> None:
    host, _, port = abused.address.rpartition(":")
    spoken: list[bytes] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01" + b"x" * 500,
        b"\0" * 10_000,
        b"PRI * HTTP/2.0\r\n",
    ]
    with Meanwhile(abused):
        for words in spoken * 20:
            with socket.create_connection((host, int(port)), timeout=60) as connection:
                connection.sendall(words)
                connection.close()
