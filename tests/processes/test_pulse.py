"""A process that lives and does not answer is found and replaced."""

from __future__ import annotations

import os
import signal
from typing import Any, cast

import grpc
import pytest

from avocet_grpc.processes.bells import Bell
from avocet_grpc.processes.child import Child, Phase, Role
from avocet_grpc.processes.messages import Ping
from avocet_grpc.processes.pulse import EVERY_S, MOST_UNANSWERED, Pulse
from tests.support import Server, eventually, record, write_records


class Told(Child):
    """A child without a process, which notes its orders."""

    def __init__(self, number: int) -> None:
        super().__init__(Role.WORKER, number, cast(Bell, None))
        self.phase, self.orders = Phase.RUNNING, list[Any]()

    @property
    def pid(self) -> int:
        return 1_000 + self.number

    def tell(self, order: Any) -> None:
        self.orders.append(order)


class Hands:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_that_leaves_several_pings_unanswered_is_silent_and_one_that_answers_is_not() -> None:
    deaf, well, clock = Told(0), Told(1), Hands()
    pulse = Pulse([deaf, well], clock)
    for _ in range(MOST_UNANSWERED):
        clock.now += EVERY_S
        assert pulse.silent() == []
        pulse.answered(well)
    clock.now += EVERY_S
    assert pulse.silent() == [deaf]
    assert deaf.orders == [Ping()] * MOST_UNANSWERED


def test_a_pause_of_the_whole_machine_makes_nobody_late() -> None:
    child, clock = Told(0), Hands()
    pulse = Pulse([child], clock)
    clock.now += EVERY_S
    assert pulse.silent() == []
    clock.now += 3_600
    assert pulse.silent() == []


def test_a_process_that_does_not_run_yet_is_not_asked() -> None:
    child, clock = Told(0), Hands()
    child.phase = Phase.AT_IT
    pulse = Pulse([child], clock)
    for _ in range(2 * MOST_UNANSWERED):
        clock.now += EVERY_S
        assert pulse.silent() == []
    assert child.orders == []


def test_a_mirror_that_is_stopped_is_replaced(stopped_server: Server) -> None:
    server = stopped_server.start()
    (stopped,) = server.processes("mirror")
    os.kill(stopped, signal.SIGSTOP)
    is_replaced(server, "mirror", stopped)
    write_records(server.candidates, [record("c0")])
    eventually(lambda: server.stats().total == 1)
    assert server.stop() == 0


def test_a_worker_that_is_stopped_with_its_turn_to_commit_does_not_block_the_others_for_long(
    stopped_server: Server,
) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(50)])
    # The mirror commits too, but not so often.
    stopped_server.environment = {"AVOCET_FAILPOINT": "commit.before:stop:30"}
    server = stopped_server.start()
    (stopped,) = server.processes("worker")
    with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        for n in range(50):
            server.correct(f"c{n}", "better")
    is_replaced(server, "worker", stopped)
    eventually(lambda: serves(server, 50))
    server.correct("c49", "better")
    assert server.stop() == 0


def is_replaced(server: Server, role: str, stopped: int) -> None:
    eventually(lambda: server.processes(role) not in ([], [stopped]), within=EVERY_S * (MOST_UNANSWERED + 4))
    # The log is written by a thread of its own, which may come later than the new process.
    eventually(lambda: "process does not answer" in server.log and '"reason": "SIGKILL"' in server.log)


def serves(server: Server, count: int) -> bool:
    try:
        return server.stats().total == count
    except grpc.RpcError:
        return False
