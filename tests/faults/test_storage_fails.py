"""A sync that fails, and a slow one: nothing is acknowledged that is not on the disk, and no sync is tried twice."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.acks import Acks
from tests.faults.check import check, export
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, need, whole_only
from tests.support import Server, queue_ids, write_records

EXIT_STORAGE_FAILED = 5
STATUS = health_pb2.HealthCheckResponse


class HealthWatch(threading.Thread):
    """Follows the server's health; `seen` are the statuses in order."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._channel = grpc.insecure_channel(server.address)
        self.seen: list[Any] = []

    def run(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        try:
            for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                self.seen.append(answer.status)
        except grpc.RpcError:
            pass


def under_strace(server: Server, trace: Path, *flags: str) -> None:
    """From its next start on, the server's syncs are traced; it keeps its process id."""
    need("strace")
    calls = ["-e", "trace=fsync,fdatasync", *flags]
    server.prefix = ["strace", "-D", "-f", "-qq", "-y", "-o", str(trace), *calls]


def syncs_after_the_injected_one(trace: Path) -> list[str]:
    """Syncs of the ledger that were tried after the one that failed."""
    lines = trace.read_text().splitlines()
    (injected,) = (number for number, line in enumerate(lines) if "(INJECTED)" in line)
    return [line for line in lines[injected + 1 :] if "ledger.db" in line and "sync(" in line]


@pytest.mark.parametrize("when", [40, 90] if WHOLE else [40])
def test_a_failed_sync_of_the_journal_acknowledges_nothing_more_and_is_not_tried_again(
    victim: Server, acks: Acks, tmp_path: Path, when: int
) -> None:
    end_by_a_failed_sync(victim, acks, tmp_path / "trace", when)


def test_a_failed_sync_of_the_database_ends_the_service_too(victim: Server, acks: Acks, tmp_path: Path) -> None:
    whole_only()
    need("strace")
    write_records(victim.candidates, made := candidates(600))
    acks.add(made)
    trace, file = tmp_path / "trace", victim.data / ".avocet" / "ledger.db"
    health = HealthWatch(victim.start())
    health.start()
    with Load(acks, victim.address, threads=8) as load:
        load.wait_for(200)
        # A start syncs the database too, so the tracer comes later. It counts each thread's syncs.
        failing = ["-e", "trace=fsync,fdatasync", "-P", str(file), "-e", "inject=fsync,fdatasync:error=EIO:when=1"]
        [worker] = victim.processes("worker")
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-y", "-o", str(trace), *failing, "-p", str(worker)])
        load.wait(timeout=90)
        assert victim.ended() == EXIT_STORAGE_FAILED
    tracer.wait(timeout=60)
    health.join(timeout=60)
    assert STATUS.NOT_SERVING in health.seen
    assert syncs_after_the_injected_one(trace) == []
    check(acks, victim.start())
    assert victim.stop() == 0
    check(acks, victim.start(), asked=10_000)


def end_by_a_failed_sync(server: Server, acks: Acks, trace: Path, when: int) -> None:
    write_records(server.candidates, made := candidates(600))
    acks.add(made)
    server.start()
    assert server.stop() == 0
    failing = f"inject=fsync,fdatasync:error=EIO:when={when}"
    under_strace(server, trace, "-P", str(server.data / ".avocet" / "ledger.db-wal"), "-e", failing)
    health = HealthWatch(server.start())
    health.start()
    with Load(acks, server.address, threads=8) as load:
        load.wait(timeout=90)
        assert server.ended() == EXIT_STORAGE_FAILED
    health.join(timeout=60)
    assert "(INJECTED)" in trace.read_text()
    assert load.acknowledged >= 20
    assert acks.unknown >= 1
    assert STATUS.NOT_SERVING in health.seen
    assert syncs_after_the_injected_one(trace) == []
    server.prefix = []
    check(acks, server.start())
    assert server.stop() == 0
    check(acks, server.start(), asked=10_000)


def test_a_read_of_the_ledger_that_fails_ends_the_service(victim: Server, acks: Acks, tmp_path: Path) -> None:
    need("strace")
    write_records(victim.candidates, made := candidates(600, size=2_000))
    acks.add(made)
    victim.start()
    assert victim.stop() == 0
    trace = tmp_path / "trace"
    failing = ["-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=120+"]
    victim.prefix = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-P",
        str(victim.data / ".avocet/ledger.db"),
        *failing,
    ]
    health = HealthWatch(victim.start())
    health.start()
    with pytest.raises(grpc.RpcError) as caught:
        while True:
            list(queue_ids(victim, per_page=500))
            list(queue_ids(victim, per_page=100, order=pb.ORDER_QUALITY))
            export(victim)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert victim.ended() == EXIT_STORAGE_FAILED
    health.join(timeout=60)
    assert STATUS.NOT_SERVING in health.seen
    assert "(INJECTED)" in trace.read_text() and "ledger failed" in victim.log
    victim.prefix = []
    check(acks, victim.start())


SYNC_S = 0.2


def test_on_a_slow_disk_batches_grow_and_nothing_is_acknowledged_before_its_sync(
    victim: Server, acks: Acks, tmp_path: Path
) -> None:
    write_records(victim.candidates, made := candidates(600))
    acks.add(made)
    trace = tmp_path / "trace"
    delay = f"inject=fsync,fdatasync:delay_enter={int(SYNC_S * 1_000_000)}"
    under_strace(victim, trace, "-P", str(victim.data / ".avocet" / "ledger.db-wal"), "-e", delay)
    victim.start()
    before = trace.read_text().count("sync(")
    with Load(acks, victim.address, threads=16) as load:
        load.wait_for(150, timeout=60)
    syncs = trace.read_text().count("sync(") - before
    answered = [seconds for caller in load.callers for seconds in caller.answered]
    assert sum(load.failures(code) for code in grpc.StatusCode) == 0, "a deadline was missed"
    assert min(answered) >= SYNC_S, "a change was acknowledged before its sync"
    assert load.acknowledged >= 3 * syncs, f"{load.acknowledged} changes in {syncs} syncs"
    victim.prefix = []
    victim.kill()
    check(acks, victim.start())
