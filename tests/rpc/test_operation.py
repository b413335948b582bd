"""Starting, stopping, health, and an engineer with grpcurl at a terminal."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client.v1 import corrections_pb2
from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.store.sql import schema
from tests.support import BIN, Server, eventually, record, write_records

SERVICE = "avocet.corrections.v1.CorrectionsService"


def grpcurl(server: Server, *arguments: str) -> str:
    command = [str(BIN / "grpcurl"), "-plaintext", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_serving_while_it_serves(quiet_server: Server, service: str) -> None:
    stub: Any = health_pb2_grpc.HealthStub(quiet_server.open_channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_grpcurl_lists_describes_and_calls_without_proto_files(quiet_server: Server) -> None:
    address = quiet_server.address
    services = grpcurl(quiet_server, address, "list").split()
    assert {SERVICE, "grpc.health.v1.Health"} <= set(services)
    methods = {name.rpartition(".")[2] for name in grpcurl(quiet_server, address, "list", SERVICE).split()}
    assert methods == set(corrections_pb2.DESCRIPTOR.services_by_name["CorrectionsService"].methods_by_name)
    assert "rpc Submit" in grpcurl(quiet_server, address, "describe", SERVICE)
    page = json.loads(grpcurl(quiet_server, "-d", '{"per_page": 1}', address, f"{SERVICE}/Queue"))
    assert page["items"][0]["id"] == "a"


@pytest.mark.files("one server has the data directory")
def test_a_second_server_on_the_same_data_directory_exits_with_an_error(quiet_server: Server, tmp_path) -> None:
    log = tmp_path / "second.log"
    second = quiet_server.spawn(log)
    try:
        assert second.wait(timeout=60) not in (0, -15)
    finally:
        second.kill()
    assert "Traceback" not in log.read_text()
    assert "listening on" not in log.read_text()
    assert quiet_server.address in log.read_text()
    assert quiet_server.stats().total == 1


@pytest.mark.files("the files after a stop")
def test_a_stop_drains_exits_with_0_and_leaves_the_files_up_to_date(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(20)])
    server = stopped_server.start()
    for n in range(20):
        server.correct(f"c{n}")
    before = server.stats()
    assert server.stop() == 0
    assert server.candidates.read_bytes().count(b'"approved"') == 20
    assert server.approved.read_bytes().count(b"\n") == 20
    server.start()
    after = server.stats()
    assert (after.by_status, after.export_ready) == (before.by_status, before.export_ready)


@pytest.mark.files("the files after a stop")
def test_the_mode_of_a_shared_file_survives_decisions_and_a_stop(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("a"), record("b")])
    stopped_server.candidates.chmod(0o640)
    server = stopped_server.start()
    server.correct("a")
    eventually(lambda: b'"approved"' in server.candidates.read_bytes())
    assert server.stop() == 0
    assert server.candidates.stat().st_mode & 0o777 == 0o640


def test_the_server_says_its_version_its_engine_and_when_it_started(server: Server) -> None:
    before = time.time()
    first = server.stub.GetVersion(pb.GetVersionRequest())
    said = subprocess.run([BIN / "avocet-grpc", "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"avocet-grpc {first.version}\n" and first.version
    assert (first.engine, first.schema_version) == (server.engine_name, schema.VERSION)
    assert before - 60 < first.started_at.ToMicroseconds() / 1e6 <= before
    server.stop()
    again = server.start().stub.GetVersion(pb.GetVersionRequest())
    assert again.started_at.ToMicroseconds() > before * 1e6
