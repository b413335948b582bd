"""The processes of the service: how they start, die, are started again, and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import grpc
import pytest

from tests.operate.support import refused_start
from tests.proc import children_of
from tests.support import Server, eventually, record, write_records

WORKERS = 1


@pytest.fixture
def several(stopped_server: Server) -> Server:
    """A service of two workers with some candidates."""
    stopped_server.environment = {"AVOCET_WORKERS": str(WORKERS)}
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(50)])
    return stopped_server.start()


def answers(server: Server) -> bool:
    try:
        return server.stats().total >= 0
    except grpc.RpcError:
        return False


def test_a_service_is_a_mirror_and_its_workers(several: Server) -> None:
    assert len(several.processes("mirror")) == 1
    assert len(several.processes("worker")) == WORKERS
    assert several.stop() == 0


@pytest.mark.parametrize("role", ["worker", "mirror"])
def test_a_process_that_is_killed_is_started_again_and_counted_and_logged(several: Server, role: str) -> None:
    before = several.processes(role)
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now = several.processes(role)
        return len(now) == len(before) and before[0] not in now

    eventually(is_replaced)
    eventually(lambda: '"reason": "SIGKILL"' in several.log and f'"child": "{role}' in several.log)
    eventually(lambda: answers(several))
    assert several.stop() == 0


def test_a_worker_that_takes_the_place_of_another_serves_on_the_same_port(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_WORKERS": "1"}
    server = stopped_server.start()
    (worker,) = server.processes("worker")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: answers(server))
    assert server.log.count("listening on") == 1


def test_no_process_outlives_a_killed_supervisor_and_the_port_and_the_directory_are_free(several: Server) -> None:
    started = several.processes()
    os.kill(started[0], signal.SIGSTOP)
    os.kill(several.process.pid, signal.SIGKILL)
    several.process.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}/status").exists() for pid in started))
    several.listen = several.address
    several.start()
    assert answers(several)
    assert several.stop() == 0


def test_a_start_waits_for_the_processes_of_a_killed_supervisor(several: Server) -> None:
    """The next one must not write beside them; here they are held up by a debugger, so that they cannot die."""
    several.process.kill()
    several.process.wait()
    assert several.start().stop() == 0


def test_signals_that_reach_every_process_stop_the_service_in_order(several: Server) -> None:
    started = [*several.processes(), several.process.pid]
    for pid in started:
        os.kill(pid, signal.SIGTERM)
    assert several.ended() == 0
    assert "it starts again" not in several.log


def test_a_port_of_several_workers_is_not_shared_with_a_second_service(several: Server, tmp_path: Path) -> None:
    other = Server(tmp_path / "other")
    other.listen, other.environment = several.address, {"AVOCET_WORKERS": str(WORKERS)}
    code, said = refused_start(other)
    assert (code, said.count("\n")) == (1, 1)
    assert f"cannot listen on {several.address}: the port is taken" in said


def test_a_port_on_which_another_program_listens_is_refused_for_one_worker_and_for_several(
    stopped_server: Server,
) -> None:
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        held.listen()
        stopped_server.listen = f"127.0.0.1:{held.getsockname()[1]}"
        for workers in ("1", "2"):
            stopped_server.environment = {"AVOCET_WORKERS": workers}
            code, said = refused_start(stopped_server)
            assert (code, said.count("\n")) == (1, 1)
            assert "the port is taken" in said


def test_a_unix_socket_takes_one_worker(stopped_server: Server) -> None:
    stopped_server.listen = f"unix:{stopped_server.directory / 'socket'}"
    stopped_server.environment = {"AVOCET_WORKERS": "2"}
    code, said = refused_start(stopped_server)
    assert code == 1 and "takes one worker" in said
    stopped_server.environment = {"AVOCET_WORKERS": "1"}
    assert answers(stopped_server.start())


def test_a_worker_that_dies_again_and_again_is_started_after_growing_pauses(several: Server) -> None:
    others = set(several.processes("worker")[1:])
    for _ in range(3):
        (worker,) = eventually(lambda: set(several.processes("worker")) - others)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: set(several.processes("worker")) - others - {worker})  # noqa: B023
    pauses = [json.loads(line)["in_seconds"] for line in several.log.splitlines() if "it starts again" in line]
    assert pauses == [0.1, 0.2, 0.4]


def test_no_process_of_the_service_is_left_after_a_stop(several: Server) -> None:
    pid, started = several.process.pid, several.processes()
    assert several.stop() == 0
    assert not children_of(pid)
    time.sleep(0.1)
    assert not any(Path(f"/proc/{one}").exists() for one in started)
