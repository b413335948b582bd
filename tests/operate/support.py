"""Servers with tokens, certificates and limits, and the callers of them."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.operate.memory import FULL
from tests.support import BIN, PATIENCE_S, Server, bearer

SERVICE = "avocet.corrections.v1.CorrectionsService"


def new_token(tokens_file: Path, name: str, *roles: str, expires: str = "") -> str:
    """A token made by the command line, with its entry in the file."""
    command = [str(BIN / "avocet-grpc"), "token", "new", name, "--tokens-file", str(tokens_file)]
    command += [part for role in roles for part in ("--role", role)]
    command += ["--expires", expires] if expires else []
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def expired_token(tokens_file: Path, name: str, *roles: str) -> str:
    """A token that ended in 2001, as time would have done it: the command line makes none."""
    token = new_token(tokens_file, name, *roles)
    with tokens_file.open("a") as file:
        file.write("  expires: 2001-01-01\n")
    return token


class Bearer:
    """A stub whose every call bears `token`."""

    def __init__(self, channel: grpc.Channel, token: str) -> None:
        self._stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(channel)
        self._metadata = bearer(token)

    def __getattr__(self, method: str) -> Any:
        return partial(getattr(self._stub, method), metadata=self._metadata, timeout=30)


def limited(server: Server, **limits: float) -> Server:
    """The server, started with these limits."""
    server.environment = {"AVOCET_LIMIT": " ".join(f"{name}={value}" for name, value in limits.items())}
    return server.start()


def idle_stream(server: Server, channel: grpc.Channel | None = None) -> Any:
    """A StreamIngest that the server has begun, and that sends nothing more."""
    stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(channel or server.open_channel)
    sent = iter([pb.StreamIngestRequest(items=[pb.IngestRequest()])])

    def requests() -> Iterator[pb.StreamIngestRequest]:
        yield from sent
        threading.Event().wait(60)

    call = stub.StreamIngest(requests(), metadata=bearer(), timeout=60)
    assert next(call).results[0].HasField("error")
    return call


def refused_start(server: Server, within: float = PATIENCE_S) -> tuple[int, str]:
    """Start a server that cannot start. Gives its exit code and what it said."""
    log = server.directory / "refused.log"
    log.unlink(missing_ok=True)
    process = server.spawn(log)
    try:
        return process.wait(timeout=within), log.read_text()
    finally:
        process.kill()
        process.wait()


def resident_bytes(server: Server) -> int:
    """The memory that the server's processes hold now."""
    return sum(map(resident_bytes_of, server.pids))


def resident_bytes_of(pid: int) -> int:
    """The memory that a process holds now; 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def answers_soon(server: Server) -> float:
    """Seconds that a good call takes. It fails after one at full size, and otherwise only if the call never ends."""
    started = time.monotonic()
    server.stub.Stats(pb.StatsRequest(), timeout=1.0 if FULL else 30.0)
    return time.monotonic() - started
