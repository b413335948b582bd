"""A disk without room, a limit on file sizes, and one that turns read-only: refused, not failed, and reads go on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.acks import Acks
from tests.faults.check import answers, check, export
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, ext4, mounted, need, run, whole_only
from tests.support import Server, eventually, queue_ids, write_records

FULL = grpc.StatusCode.RESOURCE_EXHAUSTED


def prepare(server: Server, acks: Acks) -> None:
    write_records(server.candidates, made := candidates(100))
    acks.add(made)


def reads_go_on(server: Server, acks: Acks) -> None:
    """Everything that was acknowledged is answered, and the service is well."""
    assert list(answers(acks.known.values(), server)) == []
    assert list(queue_ids(server)) and server.stats().total >= len(acks.known)
    export(server)
    stub: Any = health_pb2_grpc.HealthStub(server.open_channel)
    assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


def fill(server: Server, acks: Acks, least: int = 10) -> None:
    """Work until the disk is full; what is refused is not stored."""
    with Load(acks, server.address, threads=8, persistent=True) as load:
        eventually(lambda: load.failures(FULL) >= 8, within=90)
    assert load.acknowledged >= least
    assert acks.unknown == 0, "a refusal was taken for a failure"


def test_a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_room(victim: Server, acks: Acks) -> None:
    need("root")
    with mounted(victim.data, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        prepare(victim, acks)
        victim.start()
        fill(victim, acks)
        reads_go_on(victim, acks)
        run("mount", "-o", "remount,size=32m", str(victim.data))
        with Load(acks, victim.address) as load:
            load.wait_for(50)
        check(acks, victim, asked=10_000)
        assert victim.stop() == 0
        check(acks, victim.start())
        victim.kill()


def test_the_journal_of_the_ledger_leaves_a_small_disk_to_the_records(victim: Server, acks: Acks) -> None:
    need("root")
    with mounted(victim.data, "-t", "tmpfs", "-o", "size=40m", "tmpfs"):
        prepare(victim, acks)
        victim.start()
        texts = (os.urandom(6_000).hex() for _ in range(10_000))
        request = {"source": "a", "task_type": "t", "prompt": "p", "response": "r"}
        refused = 0
        while refused < 3:
            try:
                victim.ingest(pb.IngestRequest(**request, correction=next(texts)))
            except grpc.RpcError as error:
                assert error.code() is FULL
                refused += 1
        journal = sum(path.stat().st_size for path in victim.data.rglob("*.db-wal"))
        kept = sum(path.stat().st_size for path in [*victim.data.rglob("*.db"), *victim.data.glob("*.jsonl")])
        assert journal < 25_000_000 and kept > 12_000_000
        reads_go_on(victim, acks)
        victim.kill()


def test_a_full_disk_of_a_real_file_system_is_the_same_and_a_kill_meanwhile_loses_nothing(
    victim: Server, acks: Acks, tmp_path: Path
) -> None:
    need("root", "loop")
    whole_only()
    with ext4(victim.data, tmp_path / "image", megabytes=16):
        prepare(victim, acks)
        victim.start()
        filler = os.open(victim.data / "filler", os.O_WRONLY | os.O_CREAT)
        while _writes(filler, bytes(64 * 1024)):
            pass
        fill(victim, acks, least=0)
        reads_go_on(victim, acks)
        victim.kill()
        os.close(filler)
        (victim.data / "filler").unlink()
        check(acks, victim.start(), asked=10_000)
        with Load(acks, victim.address) as load:
            load.wait_for(50)
        check(acks, victim, asked=10_000)
        victim.kill()


def _writes(descriptor: int, data: bytes) -> bool:
    try:
        return os.write(descriptor, data) > 0
    except OSError:
        return False


@pytest.mark.parametrize("kilobytes", [900, 2_000] if WHOLE else [900])
def test_short_writes_at_a_limit_of_file_sizes_are_refused_like_a_full_disk(
    victim: Server, acks: Acks, kilobytes: int
) -> None:
    need("prlimit")
    prepare(victim, acks)
    victim.prefix = ["prlimit", f"--fsize={kilobytes * 1024}:unlimited"]
    victim.start()
    fill(victim, acks)
    reads_go_on(victim, acks)
    for pid in victim.pids:
        run("prlimit", f"--pid={pid}", "--fsize=unlimited")
    with Load(acks, victim.address) as load:
        load.wait_for(50)
    check(acks, victim, asked=10_000)
    assert victim.stop() == 0
    victim.prefix = []
    check(acks, victim.start(), asked=10_000)
