"""Another program empties the config file and writes it while the service changes or reads it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.rpc.test_config import get_directory, set_directory
from tests.support import Server, eventually, failure_of_error

BEFORE = "users: {zoe: s3cret}\nsft: {bench_results_dir: /before}\n"
WRITTEN = "users: {zoe: changed}\nsft: {bench_results_dir: /written}\nlast: 1\n"
WRITER = """
import sys
file = open(sys.argv[1], "w")
print("emptied", flush=True)
sys.stdin.readline()
file.write(sys.argv[2])
file.flush()
print("written", flush=True)
sys.stdin.readline()
file.close()
"""
HAMMER = """
import sys, time
for number in range(200):
    with open(sys.argv[1], "w") as file:
        time.sleep(0.001)
        file.write(f"number: {number}\\n")
        time.sleep(0.001)
        file.write("users: {zoe: s3cret}\\n")
    until = time.monotonic() + 30
    while f"number: {number}\\n" not in open(sys.argv[1]).read():
        assert time.monotonic() < until, f"{number} was lost: {open(sys.argv[1]).read()!r}"
        time.sleep(0.001)
    time.sleep(0.01)
"""


class Writer:
    """A program that stops between its steps."""

    def __init__(self, path: Path, text: str) -> None:
        command = [sys.executable, "-c", WRITER, str(path), text]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.heard("emptied")

    def heard(self, word: str) -> None:
        assert self.process.stdout is not None and self.process.stdout.readline() == f"{word}\n"

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.communicate("\n\n", timeout=60)


@pytest.fixture
def path(server: Server) -> Path:
    path = server.config / "label_tool.yaml"
    path.write_text(BEFORE)
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[Writer]:
    writer = Writer(path, WRITTEN)
    yield writer
    writer.end()


@pytest.mark.files("the file label_tool.yaml")
def test_what_another_program_is_writing_is_there_beside_the_value_that_is_set(
    server: Server, path: Path, writer: Writer
) -> None:
    begun = threading.Event()

    def set_it() -> str:
        begun.set()
        return set_directory(server, "/set")

    with ThreadPoolExecutor() as threads:
        setting = threads.submit(set_it)
        begun.wait(30)
        writer.go_on()
        writer.heard("written")
        writer.go_on()
        assert setting.result(60) == "/set"
    assert path.read_text() == WRITTEN.replace("/written", "'/set'")


@pytest.mark.files("the file label_tool.yaml")
def test_a_write_that_takes_too_long_is_waited_for_no_longer_and_the_call_may_be_sent_again(
    server: Server, path: Path, writer: Writer
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        set_directory(server, "/set")
    failure = failure_of_error(refused.value)
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_UNREADABLE")
    assert "try again" in failure.message
    details = rpc_status.from_call(refused.value).details  # type: ignore[arg-type]
    assert any(one.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for one in details)
    assert path.read_text() == ""
    writer.go_on()
    writer.heard("written")
    writer.end()
    assert path.read_text() == WRITTEN
    assert set_directory(server, "/set") == "/set"
    assert path.read_text() == WRITTEN.replace("/written", "'/set'")


@pytest.mark.files("the file label_tool.yaml")
def test_the_value_is_read_once_the_other_program_has_written_it(server: Server, path: Path) -> None:
    command = [sys.executable, "-c", HAMMER.replace("users: {", "sft: {bench_results_dir: /always, "), str(path)]
    path.write_text("sft: {bench_results_dir: /always}\n")
    writing = subprocess.Popen(command)
    seen = set()
    while writing.poll() is None:
        seen.add(get_directory(server))
    assert writing.returncode == 0
    assert seen == {"/always"}


@pytest.mark.files("the file label_tool.yaml")
def test_no_write_of_another_program_is_lost_beside_many_changes(server: Server, path: Path) -> None:
    writing = subprocess.Popen([sys.executable, "-c", HAMMER, str(path)])
    answers = 0
    while writing.poll() is None:
        try:
            answers += set_directory(server, f"/set/{answers}") != ""
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert writing.returncode == 0
    assert answers > 0
    eventually(lambda: set_directory(server, "/last") == "/last")
    assert path.read_text().startswith("number: 199\n")
    assert get_directory(server) == "/last"
    assert [one.name for one in server.config.iterdir()] == [path.name]


@pytest.mark.files("the file label_tool.yaml")
def test_a_file_that_has_long_been_empty_is_filled(server: Server, path: Path) -> None:
    path.write_text("")
    assert set_directory(server, "/set") == "/set"
    assert get_directory(server) == "/set"
