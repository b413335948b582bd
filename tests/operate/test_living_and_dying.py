"""A stop under load, a signal to read files again, and starts that cannot work."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.faults.support import mounted
from tests.operate.support import SERVICE, refused_start
from tests.support import Server, bearer, eventually, failure_of, records

Status = health_pb2.HealthCheckResponse
WORKERS = 8


class Caller(threading.Thread):
    """Ingests without a pause until the server is gone; keeps what was acknowledged and how calls failed."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__()
        # As a gRPC client does by default: what the server has not begun is sent again, here to nobody.
        self._channel = grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])
        self._stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(self._channel)
        self._number = number
        self.acknowledged: list[str] = []
        self.failures: list[grpc.RpcError] = []

    def run(self) -> None:
        for n in range(100_000):
            item = pb.IngestRequest(source="s", task_type="t", prompt=f"{self._number}-{n}", correction="c")
            try:
                self.acknowledged.append(self._stub.Ingest(item, metadata=bearer(), timeout=30).id)
            except grpc.RpcError as error:
                self.failures.append(error)
                break
        self._channel.close()


def test_no_call_under_way_fails_when_the_server_is_stopped_under_load(server: Server) -> None:
    held = server.stub.StreamIngest(slowly(0.3, 5), metadata=bearer())
    assert next(held).results[0].created
    callers = [Caller(server, number) for number in range(WORKERS)]
    for caller in callers:
        caller.start()
    eventually(lambda: all(len(caller.acknowledged) > 20 for caller in callers))
    server.process.send_signal(signal.SIGTERM)
    assert all(answer.results[0].created for answer in held)
    assert server.ended(30) == 0
    for caller in callers:
        caller.join()
    # Each caller's last call found no server: it was never begun, so that a client may send it elsewhere.
    failures = [f"{error.code().name}: {error.details()}" for caller in callers for error in caller.failures]
    assert len(failures) == WORKERS
    assert not [failure for failure in failures if not failure.startswith("UNAVAILABLE: ")]
    assert any("The server is stopping" in failure for failure in failures)
    stored = {record["id"] for record in records(server.approved)}
    acknowledged = [id for caller in callers for id in caller.acknowledged]
    assert len(acknowledged) > WORKERS * 20
    assert stored >= set(acknowledged)
    assert len(stored) == len(acknowledged) + 5


def slowly(pause: float, count: int) -> Any:
    for number in range(count):
        yield pb.StreamIngestRequest(
            items=[pb.IngestRequest(source="s", task_type="t", prompt=f"slow {number}", correction="c")]
        )
        time.sleep(pause)


def test_a_stop_tells_every_watcher_of_its_health_and_does_not_wait_for_them(server: Server) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.open_channel)
    watchers = [
        stub.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "", SERVICE, f"{SERVICE}/write")
    ]
    assert [next(watcher).status for watcher in watchers] == [Status.SERVING] * 4
    watchers.pop(0).cancel()
    server.process.send_signal(signal.SIGTERM)
    assert [[answer.status for answer in watcher] for watcher in watchers] == [[Status.NOT_SERVING]] * 3
    assert server.ended(8) == 0


def test_health_knows_its_three_services_and_no_other(server: Server) -> None:
    stub: Any = health_pb2_grpc.HealthStub(server.open_channel)
    for name in ("", SERVICE, f"{SERVICE}/write"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == Status.SERVING
    unknown = health_pb2.HealthCheckRequest(service="unknown")
    assert failure_of(lambda: stub.Check(unknown)).code == grpc.StatusCode.NOT_FOUND
    assert next(stub.Watch(unknown)).status == Status.SERVICE_UNKNOWN


def test_sighup_reads_tokens_again_and_changes_nothing_else(stopped_server: Server) -> None:
    file = stopped_server.directory / "tokens.yaml"
    file.write_text("[]")
    file.chmod(0o600)
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server = stopped_server.start()
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: '"read again"' in server.log)
    assert server.process.poll() is None


def taken_port(server: Server) -> Any:
    held = socket.create_server(("127.0.0.1", 0))
    server.listen = f"127.0.0.1:{held.getsockname()[1]}"
    return held


def data_dir_is_a_file(server: Server) -> None:
    server.data.rmdir()
    server.data.write_text("")


def private_dir_is_a_file(server: Server) -> None:
    (server.data / ".avocet").write_text("")


def config_dir_is_a_file(server: Server) -> None:
    server.config.rmdir()
    server.config.write_text("")


def shared_file_is_a_directory(server: Server) -> None:
    server.candidates.mkdir()


def damaged_ledger(server: Server) -> None:
    (server.data / ".avocet").mkdir()
    (server.data / ".avocet" / "ledger.db").write_bytes(b"not a database at all, but long enough for a header " * 100)


def no_such_host(server: Server) -> None:
    server.listen = "192.0.2.1:0"
    server.environment = {"AVOCET_INSECURE": "1"}


def no_such_tokens_file(server: Server) -> None:
    server.environment = {"AVOCET_TOKENS_FILE": str(server.directory / "none.yaml")}


def half_of_tls(server: Server) -> None:
    server.environment = {"AVOCET_TLS_CERT": str(server.directory / "cert.pem")}


def no_address(server: Server) -> None:
    server.listen = "50051"


@pytest.mark.parametrize(
    "spoil",
    [
        taken_port,
        data_dir_is_a_file,
        private_dir_is_a_file,
        config_dir_is_a_file,
        shared_file_is_a_directory,
        damaged_ledger,
        no_such_host,
        no_such_tokens_file,
        half_of_tls,
        no_address,
    ],
)
def test_a_start_that_cannot_work_ends_in_one_clear_line_and_code_1(stopped_server: Server, spoil: Any) -> None:
    held = spoil(stopped_server)
    code, said = refused_start(stopped_server)
    assert code == 1, said
    (line,) = said.strip().splitlines()
    assert line.startswith("avocet-grpc: ") and len(line) > 30
    if held is not None:
        held.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives up root's rights")
def test_a_data_directory_that_may_not_be_written_ends_the_start_in_one_clear_line(stopped_server: Server) -> None:
    stopped_server.data.chmod(0o555)
    stopped_server.prefix = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--reuid", "65534"]
    for path in (stopped_server.directory, *stopped_server.directory.parents):
        if path != Path("/") and path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
            path.chmod(path.stat().st_mode | 0o011)
    code, said = refused_start(stopped_server)
    assert code == 1
    assert said.strip().splitlines()[-1].startswith("avocet-grpc: cannot use the data directory")
    assert "Traceback" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_writes_are_not_serving_while_the_disk_is_full_and_reads_go_on(stopped_server: Server) -> None:
    with mounted(stopped_server.data, "-t", "tmpfs", "-o", "size=6m", "tmpfs"):
        server = stopped_server.start()
        stub: Any = health_pb2_grpc.HealthStub(server.open_channel)
        watcher = stub.Watch(health_pb2.HealthCheckRequest(service=f"{SERVICE}/write"))
        assert next(watcher).status == Status.SERVING
        item = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c" * 100_000)
        assert server.ingest(item).created
        ballast = server.data / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4_096))
        failure = failure_of(lambda: [server.ingest(item) for _ in range(50)])
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "STORAGE_FULL")
        assert next(watcher).status == Status.NOT_SERVING
        # Room for a commit without changes, and not for one of these.
        os.truncate(ballast, ballast.stat().st_size - 32 * 1024)
        meanwhile = stub.Watch(health_pb2.HealthCheckRequest(service=f"{SERVICE}/write"), timeout=5)
        assert next(meanwhile).status == Status.NOT_SERVING
        ended = failure_of(lambda: next(meanwhile))
        assert ended.code == grpc.StatusCode.DEADLINE_EXCEEDED, "writes serve again, on a disk that is as full"
        for name in ("", SERVICE):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == Status.SERVING
        assert server.stats().total >= 1
        ballast.unlink()
        assert next(watcher).status == Status.SERVING
        assert server.ingest(item).created
        server.kill()
