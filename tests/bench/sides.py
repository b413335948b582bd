"""The processes that are compared: the service of some source tree, the floors, and what users have today."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import grpc

from avocet_client.v1 import corrections_pb2_grpc
from tests.bench.usage import cpu_nanoseconds, memory_mb

ROOT = Path(__file__).resolve().parents[2]
SECRET = "bench"
SERVICE = "/avocet.corrections.v1.CorrectionsService"
BEARER = (("authorization", f"Bearer {SECRET}"),)
LISTENING = "listening on "
OPTIONS = (("grpc.max_receive_message_length", 64 << 20),)
IDLE_SHARE, IDLE_LOOK_S, IDLE_WITHIN_S = 0.03, 0.2, 30.0
IDLE_LOOKS = 3
"""In a row: a process may rest between two parts of its work."""


class Side:
    """One server, of one process or several.

    `source` is the tree that its Python imports from; `log` takes what it says.
    """

    def __init__(self, arguments: list[str], log: Path, source: Path = ROOT) -> None:
        self._arguments, self._log, self._source = arguments, log, source
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> Side:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, within_s: float = 600) -> Side:
        """Start it, and wait until it listens."""
        path = os.pathsep.join((str(self._source), str(self._source / "clients" / "python")))
        environment = os.environ | {"PYTHONPATH": path, "AVOCET_INGESTION_SECRET": SECRET}
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                stdout=output, stderr=output, env=environment, cwd=self._source,
            )  # fmt: skip
        deadline = time.monotonic() + within_s
        while not (address := self._said()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._arguments[0]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.005)
        self.address = address
        return self

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=300)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def channel(self) -> grpc.Channel:
        """A channel of its own, that shares no connection with another."""
        return grpc.insecure_channel(self.address, (*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))

    def stub(self) -> corrections_pb2_grpc.CorrectionsServiceStub:
        return corrections_pb2_grpc.CorrectionsServiceStub(self.channel())

    def memory(self) -> tuple[float, float]:
        """Resident memory of all its processes now and at its highest, in MB."""
        return memory_mb(self.pid)

    def settle(self) -> None:
        """Wait until it has done what was left to do, so that the next one to be measured has the machine."""
        deadline = time.monotonic() + IDLE_WITHIN_S
        before, looks = self._cpu_s(), 0
        while time.monotonic() < deadline:
            time.sleep(IDLE_LOOK_S)
            now = self._cpu_s()
            looks = looks + 1 if now - before <= IDLE_SHARE * IDLE_LOOK_S else 0
            if looks == IDLE_LOOKS:
                return
            before = now

    def _cpu_s(self) -> float:
        return sum(cpu_nanoseconds(self.pid).values()) / 1e9

    def _said(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines(keepends=True)
        ended = (line for line in lines if LISTENING in line and line.endswith("\n"))
        return next((line.partition(LISTENING)[2].strip() for line in ended), "")


def service(directory: Path, source: Path = ROOT, *more: str) -> Side:
    """The service on `directory`/data; `more` are flags of `serve`."""
    flags = [
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(directory / "data"),
        "--config-dir",
        str(directory / "config"),
        *more,
    ]
    return Side(["avocet_grpc", "serve", *flags], directory / "service.log", source)


def floor(directory: Path, *, fsync: bool = False) -> Side:
    """Empty handlers that answer what `directory` holds."""
    name = "floor-fsync" if fsync else "floor"
    return Side(["tests.bench.floor", str(directory), *(["--fsync"] if fsync else [])], directory / f"{name}.log")


def legacy(directory: Path) -> Side:
    """The legacy algorithm on `directory`/data."""
    return Side(["tests.bench.legacy", str(directory / "data")], directory / "legacy.log")
