"""The log: what it says, and that a log that cannot be written changes nothing for any caller."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.telemetry.log_writer import MOST_LINES, LineWriter
from tests.operate.raw import RawConnection
from tests.support import BIN, SECRET, Json, Server, bearer, eventually, failure_of, record, write_records

CALLS = 300
"""Each logs a line, which is more than the smallest pipe holds."""


class Blind:
    """A server whose stderr is `descriptor`, so that its address is known beforehand."""

    def __init__(self, directory: Path, descriptor: int, *flags: str, prefix: Sequence[str] = ()) -> None:
        (directory / "data").mkdir()
        write_records(directory / "data" / "sft_candidates.jsonl", [record("c1")])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.metrics = f"127.0.0.1:{free.getsockname()[1]}"
        command = [*prefix, str(BIN / "avocet-grpc"), "serve", "--listen", f"unix:{directory}/socket", *flags]
        command += ["--data-dir", str(directory / "data"), "--config-dir", str(directory / "config")]
        environment = os.environ | {"AVOCET_INGESTION_SECRET": SECRET, "AVOCET_METRICS_LISTEN": self.metrics}
        self.process = subprocess.Popen(command, stderr=descriptor, stdout=subprocess.DEVNULL, env=environment)
        self.channel = grpc.insecure_channel(f"unix:{directory}/socket")
        self.stub = corrections_pb2_grpc.CorrectionsServiceStub(self.channel)

    def ready(self) -> Blind:
        self.stub.Stats(pb.StatsRequest(), wait_for_ready=True, timeout=30)
        return self

    def dropped(self) -> float:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=60) as answer:
            (value,) = re.findall(r"^avocet_log_lines_dropped_total (\S+)", answer.read().decode(), re.MULTILINE)
        return float(value)

    def stop(self) -> int:
        self.channel.close()
        self.process.terminate()
        return self.process.wait(timeout=30)


@pytest.fixture(params=["full disk", "closed pipe", "pipe that nobody reads", "closed descriptor"])
def blind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Blind]:
    reading, writing = os.pipe()
    if request.param == "full disk":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    elif request.param == "closed pipe":
        os.close(reading)
        reading = -1
    elif request.param == "pipe that nobody reads":
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    prefix = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if request.param == "closed descriptor" else []
    server = Blind(tmp_path, writing, prefix=prefix)
    os.close(writing)
    server.kind = request.param  # type: ignore[attr-defined]
    try:
        yield server.ready()
    finally:
        server.process.kill()
        server.process.wait()
        if reading >= 0:
            os.close(reading)


def test_a_log_that_cannot_be_written_changes_no_answer_and_holds_up_no_stop(blind: Blind) -> None:
    item = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")
    for _ in range(CALLS):
        assert blind.stub.Ingest(item, metadata=bearer(), timeout=60).created
    assert blind.stub.Stats(pb.StatsRequest(), timeout=60).by_status["approved"] == CALLS
    refused = failure_of(lambda: blind.stub.GetCandidate(pb.GetCandidateRequest(id="none"), timeout=60))
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "CANDIDATE_NOT_FOUND")
    refused = failure_of(lambda: blind.stub.Ingest(item, timeout=60))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
    if blind.kind in ("full disk", "closed pipe"):  # type: ignore[attr-defined]
        eventually(lambda: blind.dropped() >= CALLS)
    assert blind.stop() == 0


def test_lines_that_find_no_room_are_dropped_counted_and_reported_later() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    writer = LineWriter(writing, lambda count: f"{count} lines dropped")
    more = MOST_LINES * 2
    for number in range(more):
        writer.put(f"line {number}")
    assert writer.dropped > 0
    text, written, dropped = b"", list[int](), 0
    while len(written) + dropped < more:
        *lines, text = (text + os.read(reading, 1 << 16)).split(b"\n")
        for line in map(bytes.decode, lines):
            if line.startswith("line "):
                written.append(int(line.split()[1]))
            else:
                dropped += int(line.removesuffix(" lines dropped"))
    assert written == sorted(written) and dropped == writer.dropped
    assert writer.flush()
    os.close(reading)


def test_a_line_that_was_cut_by_a_full_disk_is_ended_before_the_next(tmp_path: Path) -> None:
    script = f"""
import os, resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from avocet_grpc.telemetry.log_writer import LineWriter
descriptor = os.open({str(tmp_path / "log")!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
writer = LineWriter(descriptor, lambda count: f"{{count}} dropped")
resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
writer.put("a" * 10), writer.put("b" * 10)
assert writer.flush() and writer.dropped == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.put("c"), writer.flush()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    assert (tmp_path / "log").read_text() == f"{'a' * 10}\nbbbb\nc\n1 dropped\n"


STRANGERS = """
import logging, sys, threading, traceback, warnings
from avocet_grpc.telemetry import logs
import structlog
logs.configure({level!r}, process="worker-1")
structlog.get_logger().debug("fine grained")
structlog.get_logger().info("two\\nlines", size=float("nan"), thing=object(), long="x" * 100_000)
structlog.get_logger().info("circle", circle=(lambda c: c.append(c) or c)([]))
logging.getLogger("some.library").warning("a %s of a library", "warning")
logging.getLogger("some.library").error("badly formed %d", "x")
warnings.warn("old")
print("printed", file=sys.stderr)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(), thread.join()
class Unraisable:
    def __del__(self):
        raise ValueError("in a finalizer")
Unraisable()
logs.log_call("/service/Method", "OK", "token", 0.5, "id-1")
raise KeyError("nobody caught it")
"""


def logged(level: str) -> list[Json]:
    done = subprocess.run([sys.executable, "-c", STRANGERS.format(level=level)], capture_output=True, timeout=60)
    assert done.returncode == 1
    return [json.loads(line) for line in done.stderr.decode().splitlines()]


def test_every_line_is_a_json_object_also_those_of_libraries_and_of_errors_that_nobody_caught() -> None:
    found = logged("debug")
    events = {line["event"]: line for line in found}
    assert {"fine grained", "two\nlines", "circle", "a warning of a library", "printed", "uncaught"} <= events.keys()
    assert {"unraisable", "call", "badly formed %d"} <= events.keys()
    assert all(line["process"] == "worker-1" and line["level"] and line["timestamp"] for line in found[1:2])
    assert any("old" in line["event"] for line in found)
    assert "ZeroDivisionError" in json.dumps(found) and "nobody caught it" in found[-1]["exception"]
    assert len(events["two\nlines"]["long"]) < 7_000
    assert events["call"]["duration_ms"] == 500 and events["call"]["level"] == "info"


def test_all_a_running_service_says_is_json_but_for_the_two_lines_that_say_where_it_listens(
    stopped_server: Server,
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("a")])
    with server.candidates.open("a") as file:
        file.write("no json\n")
    server.environment = {"AVOCET_WORKERS": "2", "AVOCET_METRICS_LISTEN": "127.0.0.1:0"}
    server.start()
    server.correct("a")
    with RawConnection(server.address) as raw:
        raw.send(raw.call("NoSuchMethod"), b"")
        stream = raw.call("Stats")
        raw.send(stream, b"\xff")
        assert raw.status(stream)[0] == str(grpc.StatusCode.INVALID_ARGUMENT.value[0])
    with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=60) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.recv(100)
    # One that dies is restarted, and says so.
    before = server.processes("worker")
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(server.processes("worker")) == 2 and before[0] not in server.processes("worker"))
    assert server.stop() == 0
    plain = [line for line in server.log.splitlines() if not line.startswith("{")]
    assert [line.partition(" on ")[0] for line in plain] == ["metrics", "listening"]
    said = [json.loads(line) for line in server.log.splitlines() if line not in plain]
    assert all(line["event"] and line["level"] and line["timestamp"] for line in said)
    assert "call" in {line["event"] for line in said}


def test_a_reader_that_leaves_a_stream_early_is_no_fault_of_the_service(stopped_server: Server) -> None:
    server = stopped_server
    lines = [record(f"a{n}", status="approved", corrected_response="x" * 60_000) for n in range(300)]
    write_records(server.approved, lines)
    server.environment = {"AVOCET_WORKERS": "1"}
    server.start()

    def codes() -> list[str]:
        said = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        return [line["code"] for line in said if line.get("method", "").endswith("/StreamExport")]

    for _ in range(5):
        stream = server.stub.StreamExport(pb.StreamExportRequest())
        next(stream)
        # Long enough for the service to wait until more is read.
        time.sleep(0.1)
        stream.cancel()
    eventually(lambda: len(codes()) == 5)
    late = server.stub.StreamExport(pb.StreamExportRequest(), timeout=0.5)
    next(late)
    eventually(lambda: len(codes()) == 6)
    assert codes()[:5] == ["CANCELLED"] * 5
    # At the end of its time the caller also cancels, and may be quicker than the server's own clock.
    assert codes()[5] in {"DEADLINE_EXCEEDED", "CANCELLED"}
    late.cancel()


def test_lines_below_the_level_are_left_out() -> None:
    assert "fine grained" not in [line["event"] for line in logged("info")]
    words = [line["event"] for line in logged("warning")]
    assert "a warning of a library" in words and "call" not in words and "two\nlines" not in words


def test_the_levels_flag_leaves_out_the_line_of_each_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = Blind(tmp_path, output.fileno(), "--log-level", "warning")
    try:
        server.ready()
        assert server.stop() == 0
    finally:
        server.process.kill()
    plain = [line.partition(" ")[0] for line in log.read_text().splitlines()]
    assert plain == ["metrics", "listening"]


def test_a_terminal_gets_readable_lines(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    server = Blind(tmp_path, theirs)
    os.close(theirs)
    try:
        server.ready()
        text = b""
        while b"method=/avocet" not in re.sub(rb"\x1b\[[0-9;]*m", b"", text):
            text += os.read(ours, 4096)
        assert b"listening on unix:" in text and b'{"' not in text
        assert server.stop() == 0
    finally:
        server.process.kill()
        os.close(ours)


def test_what_others_named_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    name = "\x1b]0;owned\x07\u202e"
    (tmp_path / "runs" / name / "sft_candidates.jsonl").mkdir(parents=True)
    ours, theirs = pty.openpty()
    server = Blind(tmp_path, theirs)
    os.close(theirs)
    try:
        server.ready().stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=f"{tmp_path / 'runs'}")))
        server.stub.ListRuns(pb.ListRunsRequest(), timeout=30)
        text = b""
        while not re.search(rb"owned.*\n", text):
            text += os.read(ours, 4096)
        assert rb"\x1b]0;owned\x07\u202e" in text
        assert b"\x1b]" not in text and b"\x07" not in text and "\u202e".encode() not in text
        assert server.stop() == 0
    finally:
        server.process.kill()
        os.close(ours)
