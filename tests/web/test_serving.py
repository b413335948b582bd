"""Connections to `avocet web` and `avocet legacy`: too many of them, idle ones, and those open at a stop."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, write_records
from tests.web.support import ask, avocet
from tests.web.test_bridge import SERVICE, frame

DESCRIPTORS = 64


@dataclass
class Served:
    process: subprocess.Popen[bytes]
    address: str
    path: str
    """Of something to read."""
    log: Path

    @property
    def where(self) -> tuple[str, int]:
        host, port = self.address.split(":")
        return host, int(port)

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return ask(self.address, "GET", self.path).status == 200
        return False


@contextmanager
def served(kind: str, directory: Path, service: str) -> Iterator[Served]:
    arguments = ["web", "--no-open"] if kind == "web" else ["legacy", "--listen", "127.0.0.1:0"]
    with avocet(directory, *arguments, "--address", service) as (process, out, err):
        if kind == "web":
            where = urlsplit(eventually(lambda: out.read_text().strip(), within=30))
            yield Served(process, where.netloc, where.path, err)
        else:
            listening = eventually(lambda: err.read_text().partition("listening on ")[2].strip(), within=30)
            yield Served(process, listening, "/api/sft/stats", err)


@pytest.mark.parametrize("kind", ["web", "legacy"])
def test_without_free_descriptors_it_waits_says_so_once_and_serves_again(
    kind: str, quiet_server: Server, tmp_path: Path
) -> None:
    with served(kind, tmp_path, quiet_server.address) as front:
        resource.prlimit(front.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with ExitStack() as idle:
            for _ in range(80):
                idle.enter_context(socket.create_connection(front.where, timeout=30))
            time.sleep(3)
            said = front.log.read_text()
            assert "Traceback" not in said and said.count("connections") == 1, said[:2_000]
        assert eventually(front.answers, within=30)


@pytest.mark.parametrize("kind", ["web", "legacy"])
@pytest.mark.parametrize("begun", [b"", b"POST / HTTP/1.1\r\nhost: "], ids=["nothing", "half a head"])
def test_a_connection_that_sends_no_request_is_closed(
    kind: str, begun: bytes, quiet_server: Server, tmp_path: Path
) -> None:
    with (
        served(kind, tmp_path, quiet_server.address) as front,
        socket.create_connection(front.where, timeout=30) as caller,
    ):
        caller.sendall(begun)
        assert caller.recv(100) == b""
        assert front.answers()
        assert "Traceback" not in front.log.read_text()


def test_a_stop_ends_a_watch_at_once(server: Server, tmp_path: Path) -> None:
    with (
        served("web", tmp_path, server.address) as front,
        socket.create_connection(front.where, timeout=30) as caller,
    ):
        body = frame(pb.WatchRequest().SerializeToString())
        head = f"POST {front.path}{SERVICE}/Watch HTTP/1.1\r\nhost: {front.address}\r\n"
        head += f"content-type: application/grpc-web+proto\r\ncontent-length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body)
        received = caller.recv(4_096)
        began = time.monotonic()
        front.process.send_signal(signal.SIGTERM)
        while piece := caller.recv(4_096):
            received += piece
        assert b"grpc-status: 14" in received
        assert front.process.wait(timeout=20) == 0
        assert time.monotonic() - began < 3  # some tenths of a second, on an idle machine
        assert front.log.read_text() == ""


def test_a_stop_cuts_a_download_that_nobody_reads(server: Server, tmp_path: Path) -> None:
    approved = [record(f"e{n}", status="approved", corrected_response="x" * 1_000_000) for n in range(60)]
    write_records(server.approved, approved)
    eventually(lambda: server.stats().export_ready == len(approved), within=60)
    with (
        served("legacy", tmp_path, server.address) as front,
        socket.create_connection(front.where, timeout=30) as caller,
    ):
        caller.sendall(f"GET /api/sft/export HTTP/1.1\r\nhost: {front.address}\r\n\r\n".encode())
        assert caller.recv(100).startswith(b"HTTP/1.1 200")
        front.process.send_signal(signal.SIGTERM)
        assert front.process.wait(timeout=20) == 0
        assert "Traceback" not in front.log.read_text()
