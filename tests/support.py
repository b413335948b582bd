"""What the tests share: a real server in a process of its own, files to feed it, and readers of what it says."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.engines import ENGINE, POSTGRES, SQLITE, load, new_database
from tests.proc import children_of

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
COMMAND = [sys.executable, "-m", "tests.faults.sabotage"] if os.environ.get("SABOTAGE") else [str(BIN / "avocet-grpc")]
"""What starts a server: the sound build, or the broken one that a test of the tests asks for."""
SECRET = "a-secret-of-the-tests"
DOMAIN = "avocet.corrections.v1"
PATIENCE_S = 30.0
"""How long a test waits for what must come about. What the pages promise in seconds, the benchmark measures."""

TEAM_FULL = os.environ.get("TEAM") == "full"
"""Whether the tests of reviewing as a team run at full size, as `make test-team` does."""

Json = dict[str, Any]
T = TypeVar("T")


class Server:
    """`avocet-grpc serve` as a process, on a free port; `directory` holds its data, config and log.

    `prefix` is a command that runs it (strace, prlimit, ...) and must leave it its own process id; `environment` is
    added to its environment, `listen` is its address; a `command` is run in place of the
    usual one; without `has_files` it is given no data directory. All hold from the next start on. In the `engine`
    postgres, the first start takes the shared files into a database, and the server has none.
    """

    def __init__(self, directory: Path, secret: str | None = SECRET, engine: str = ENGINE) -> None:
        self.prefix: list[str] = []
        self.environment: dict[str, str] = {}
        self.listen = "127.0.0.1:0"
        self.command: list[str] = []
        self.directory = directory
        self.data = directory / "data"
        self.config = directory / "config"
        self.runs = directory / "bench"
        self.secret = secret
        self.engine = engine
        self.has_files = engine == SQLITE
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None
        for path in (self.data, self.config, self.runs):
            path.mkdir(parents=True, exist_ok=True)

    @property
    def candidates(self) -> Path:
        return self.data / "sft_candidates.jsonl"

    @property
    def approved(self) -> Path:
        return self.data / "sft_approved.jsonl"

    @property
    def engine_name(self) -> str:
        """What GetVersion calls it."""
        return {SQLITE: "sqlite", POSTGRES: "postgresql"}[self.engine]

    @property
    def log(self) -> str:
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, within: float = 60) -> Server:
        """Start it and wait until it serves, for `within` seconds at most."""
        offset = len(self.log)
        self._process = self.spawn(self.directory / "server.log")
        listening = "listening on "

        def address() -> str | None:
            lines = [line for line in self.log[offset:].splitlines(keepends=True) if line.endswith("\n")]
            found = [line.strip().partition(listening)[2] for line in lines if listening in line]
            if not found and self._process is not None and self._process.poll() is not None:
                raise RuntimeError(f"the server ended with {self._process.returncode}:\n{self.log[offset:]}")
            return found[0] if found else None

        self.address = eventually(address, within=within)
        self.stub = corrections_pb2_grpc.CorrectionsServiceStub(self.channel())
        return self

    def spawn(self, log: Path) -> subprocess.Popen[bytes]:
        """Another process with this server's flags."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")}
        if self.secret is not None:
            environment["AVOCET_INGESTION_SECRET"] = self.secret
        if self.engine == POSTGRES and "AVOCET_STORE" not in self.environment:
            self.environment["AVOCET_STORE"] = self._loaded_database()
        environment |= self.environment
        flags = ["--listen", self.listen, "--config-dir", str(self.config)]
        flags += ["--data-dir", str(self.data)] if self.has_files else []
        with log.open("ab") as output:
            command = [*self.prefix, *(self.command or [*COMMAND, "serve", *flags])]
            return subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=ROOT)

    def _loaded_database(self) -> str:
        url = new_database()
        if self.candidates.exists() or self.approved.exists():
            load(self.data, url)
        return url

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running server's process."""
        assert self._process is not None
        return self._process

    def ended(self, within: float = PATIENCE_S) -> int:
        """Wait for it to end by itself; gives the exit code, -9 after SIGKILL."""
        code = self.process.wait(timeout=within)
        self._close_channel()
        self._process = None
        self._wait_for_its_processes()
        return code

    def channel(self) -> grpc.Channel:
        """The channel of `stub`; it sends requests of any size."""
        if self._channel is not None:
            self._channel.close()
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(self.address, options)
        return self._channel

    @property
    def open_channel(self) -> grpc.Channel:
        assert self._channel is not None
        return self._channel

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        assert self._process is not None
        self._close_channel()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=90)
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self._close_channel()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._wait_for_its_processes()

    @property
    def pids(self) -> list[int]:
        """The ids of all its processes, the supervisor's first."""
        return [self.process.pid, *children_of(self.process.pid)]

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every one of its processes."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def processes(self, role: str = "") -> list[int]:
        """The ids of the processes that the server has started, or of those with this role."""
        return [pid for pid, command in children_of(self.process.pid).items() if not role or role in command]

    def _wait_for_its_processes(self) -> None:
        """They hold the data directory until the last of them is gone."""
        descriptor = os.open(self.data, os.O_RDONLY)
        try:
            eventually(lambda: _is_free(descriptor))
        finally:
            os.close(descriptor)

    def set_runs_directory(self) -> None:
        self.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(self.runs))))

    def ingest(self, request: pb.IngestRequest) -> pb.IngestResponse:
        return self.stub.Ingest(request, metadata=bearer())

    def correct(self, id: str, text: str = "better", **fields: Any) -> pb.Candidate:
        request = pb.SubmitRequest(id=id, action=pb.ACTION_CORRECT, corrected_response=text, **fields)
        return self.stub.Submit(request).candidate

    def stats(self) -> pb.StatsResponse:
        return self.stub.Stats(pb.StatsRequest())

    def _close_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _is_free(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def bearer(token: str = SECRET) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def eventually(look: Callable[[], T | None], within: float = PATIENCE_S) -> T:
    """What `look` gives as soon as it is true, and no AssertionError; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        try:
            value = look()
        except AssertionError:
            if late:
                raise
        else:
            if value:
                return value
            if late:
                raise AssertionError(f"it did not come about within {within} s")
        time.sleep(0.02)


def records(path: Path) -> list[Any]:
    """The file as other programs on the machine read it: without a lock, without a retry."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


def lines(path: Path) -> list[bytes]:
    """The lines of a file that are not blank, byte for byte."""
    return [line for line in path.read_bytes().split(b"\n") if line.strip()] if path.exists() else []


def record(id: str, **changes: Any) -> Json:
    """A candidate as benchmark runs write it."""
    number = sum(id.encode()) % 100
    return {
        "id": id,
        "source": "benchmark",
        "benchmark_run_id": "2025-03-01-120000",
        "timestamp": f"2025-03-01T12:{number % 60:02d}:00+00:00",
        "status": "needs_review",
        "prompt_messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": f"Why is the sky blue, in case {id}?"},
        ],
        "model_response": "Because of the sea \u2014 it reflects.",
        "corrected_response": None,
        "quality_score": number / 100,
        "failure_reason": "keywords missing: scattering",
        "task_id": f"task-{number}",
        "task_type": "summary" if number % 2 else "code",
        "task_name": "Blue sky",
        "model_id": "heron-7b",
        "model_name": "Heron 7B",
        "node_id": "node-1",
        "gpu_id": 0,
        "tokens_per_sec": 41.5,
    } | changes


def write_records(path: Path, contents: list[Json]) -> None:
    path.write_text("".join(json.dumps(content) + "\n" for content in contents))


def make_run(directory: Path, run_id: str, count: int = 5, malformed: int = 0) -> list[Json]:
    """A benchmark run below `directory`, as the benchmark leaves it; gives its records."""
    made = [record(f"{run_id}-{n:04d}", benchmark_run_id=run_id) for n in range(count)]
    (directory / run_id).mkdir(parents=True)
    path = directory / run_id / "sft_candidates.jsonl"
    write_records(path, made)
    with path.open("a") as file:
        file.write('{"id": "torn\n' * malformed)
    return made


def queue_ids(server: Server, **fields: Any) -> Iterator[str]:
    """Ids of the queue, followed by tokens to its end."""
    token = ""
    while True:
        page = server.stub.Queue(pb.QueueRequest(page_token=token, **fields))
        yield from (item.id for item in page.items)
        token = page.next_page_token
        if not token:
            return


@dataclass
class Failure:
    """An error of the service, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    resource: str = ""


def failure_of(call: Callable[[], Any]) -> Failure:
    """The error that `call` ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return failure_of_error(caught.value)


def failure_of_error(error: Any) -> Failure:
    """The error that a call ended with."""
    status = rpc_status.from_call(error)
    failure = Failure(error.code(), error.details() or "")
    return failure if status is None else take_apart(status, failure)


def take_apart(status: status_pb2.Status, failure: Failure) -> Failure:
    """Fill in what the details of a `google.rpc.Status` say."""
    for detail in status.details:
        info, bad, resource = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.ResourceInfo(),
        )
        if detail.Unpack(info):
            failure.reason, failure.domain, failure.metadata = info.reason, info.domain, dict(info.metadata)
        elif detail.Unpack(bad):
            failure.fields += [violation.field for violation in bad.field_violations]
        elif detail.Unpack(resource):
            failure.resource = resource.resource_name
    return failure


def failure_of_status(status: status_pb2.Status) -> Failure:
    codes = {code.value[0]: code for code in grpc.StatusCode}
    return take_apart(status, Failure(codes[status.code], status.message))


def temporary_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="avocet-")
