"""Each limit at its edge: what is within it works, what is beyond it is refused, and what it held is freed."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc.edge.message_limits import HEALTH
from tests.operate.raw import RawConnection
from tests.operate.support import idle_stream, limited
from tests.support import BIN, ROOT, SECRET, Server, eventually, failure_of, record, write_records

STATS = pb.StatsRequest()
OVERLOADED = str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])


def new_channel(server: Server) -> grpc.Channel:
    # Channels to one address share a connection unless told otherwise.
    return grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)])


def retry_seconds(status: status_pb2.Status | None) -> int:
    info = error_details_pb2.RetryInfo()
    assert status is not None and any(detail.Unpack(info) for detail in status.details)
    return int(info.retry_delay.seconds)


def ingest_of(size: int) -> pb.IngestRequest:
    """A request of exactly `size` bytes."""
    request = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c", response="x" * (size - 40))
    request.response += "x" * (size - request.ByteSize())
    assert request.ByteSize() == size
    return request


def test_a_message_of_the_largest_size_is_taken_and_one_byte_more_is_not(stopped_server: Server) -> None:
    server = limited(stopped_server, message_bytes=100_000)
    assert server.ingest(ingest_of(100_000)).created
    failure = failure_of(lambda: server.ingest(ingest_of(100_001)))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.stats().total == 1


def test_requests_within_the_bytes_under_way_are_taken_and_a_larger_one_is_not(stopped_server: Server) -> None:
    server = limited(stopped_server, bytes_under_way=1_000_000)
    assert server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p" * 900_000, correction="c")).created
    failure = failure_of(
        lambda: server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p" * 1_100_000, correction="c"))
    )
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert server.stats().total == 1


def test_a_large_answer_waits_until_the_connection_that_takes_nothing_off_is_closed(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}", model_response="x" * 1_000_000) for n in range(4)])
    server = limited(stopped_server, answer_bytes_under_way=1_000_000)
    with RawConnection(server.address) as connection:
        connection.send(connection.call("Queue"), b"")
        connection.until(ResponseReceived)
        assert [item.id for item in server.stub.Queue(pb.QueueRequest(per_page=1), timeout=60).items] == ["c0"]
        eventually(lambda: not connection.receive(1) and not connection.open, within=60)
    eventually(lambda: "its answers were not taken off" in server.log, within=60)


def test_an_import_waits_for_room_while_others_hold_all_of_it(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("c", model_response="x" * 1_000_000)])
    server = limited(stopped_server, answer_bytes_under_way=1_000_000)
    server.set_runs_directory()
    (server.runs / "run").mkdir()
    write_records(server.runs / "run" / "sft_candidates.jsonl", [record("imported")])
    with RawConnection(server.address) as connection:
        connection.send(connection.call("GetCandidate"), pb.GetCandidateRequest(id="c").SerializeToString())
        connection.until(ResponseReceived)
        assert server.stub.Import(pb.ImportRequest(run_id="run"), timeout=60).imported == 1
        # The import went on since this connection, which takes nothing off, had been closed.
        eventually(lambda: not connection.receive(1) and not connection.open, within=60)
    eventually(lambda: "its answers were not taken off" in server.log, within=60)


def test_streams_go_on_in_small_steps_while_others_hold_all_room_for_answers(stopped_server: Server) -> None:
    approved = [record(f"a{n}", status="approved", corrected_response="y" * 20_000) for n in range(100)]
    write_records(stopped_server.approved, approved)
    write_records(stopped_server.candidates, [record("c", model_response="x" * 1_000_000)])
    server = limited(stopped_server, answer_bytes_under_way=2_000_000)
    at_once = [len(batch.examples) for batch in server.stub.StreamExport(pb.StreamExportRequest(batch_size=1_000))]
    with RawConnection(server.address) as connection:
        connection.send(connection.call("GetCandidate"), pb.GetCandidateRequest(id="c").SerializeToString())
        connection.until(ResponseReceived)
        batches = list(server.stub.StreamExport(pb.StreamExportRequest(batch_size=1_000)))
        ids = [example.id for batch in batches for example in batch.examples]
        assert ids == [f"a{n}" for n in range(100)] and batches[-1].summary.example_count == 100
        assert max(len(batch.examples) for batch in batches) < max(at_once)
        watched = next(iter(server.stub.Watch(pb.WatchRequest())))
        assert watched.revision


def test_a_stream_sends_no_more_ahead_than_it_may(stopped_server: Server) -> None:
    server = limited(stopped_server, ahead_bytes=100_000)
    with RawConnection(server.address) as connection:
        connection.settle()
        stream = connection.call("", path="/grpc.health.v1.Health/Watch")
        assert connection.http.local_flow_control_window(stream) <= 100_000
        connection.send(stream, b"", end=False)
        connection.until(ResponseReceived)
        # The call reads no more, so the rest of the window is all that there is.
        assert 0 < connection.http.local_flow_control_window(stream) <= 100_000


def test_metadata_within_the_limit_is_taken_and_beyond_it_is_not(stopped_server: Server) -> None:
    server = limited(stopped_server, metadata_bytes=4_096)

    def call(size: int) -> Any:
        return server.stub.Stats(STATS, metadata=(("x-filler", "x" * size),))

    assert call(3_500).revision
    assert failure_of(lambda: call(4_096)).code == grpc.StatusCode.RESOURCE_EXHAUSTED
    with RawConnection(server.address) as raw:
        raw.settle()
        streams = [raw.call("Stats", ("x-filler", "x" * size)) for size in (3_500, 4_096)]
        for stream in streams:
            raw.send(stream, b"")
        assert [raw.status(stream)[0] for stream in streams] == ["0", "8"]


def test_a_connection_has_as_many_calls_as_it_may_and_the_next_one_waits(stopped_server: Server) -> None:
    server = limited(stopped_server, streams=2)
    held = [idle_stream(server) for _ in range(2)]
    assert failure_of(lambda: server.stub.Stats(STATS, timeout=1)).code == grpc.StatusCode.DEADLINE_EXCEEDED
    with new_channel(server) as other:
        stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(other)
        assert stub.Stats(STATS, timeout=60).revision
    held[0].cancel()
    assert server.stub.Stats(STATS, timeout=60).revision


def test_one_connection_too_many_is_closed_and_a_closed_one_makes_room(stopped_server: Server) -> None:
    server = limited(stopped_server, connections=3)
    assert server.stats().total == 0
    held = [RawConnection(server.address) for _ in range(2)]
    assert all(connection.receive(30) for connection in held)
    with RawConnection(server.address) as fourth:
        assert not any(fourth.receive() for _ in range(5)) and not fourth.open
    held[0].socket.close()

    def fits() -> bool:
        with RawConnection(server.address) as another:
            return another.receive()

    eventually(fits)
    assert server.stats().total == 0


def test_one_call_too_many_is_told_when_to_try_again_and_health_still_answers(stopped_server: Server) -> None:
    server = limited(stopped_server, calls=2)
    held = [idle_stream(server) for _ in range(2)]
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Stats(STATS)
    error: Any = caught.value
    assert (error.code(), "OVERLOADED" in str(rpc_status.from_call(error))) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        True,
    )
    assert retry_seconds(rpc_status.from_call(error)) >= 1
    health: Any = health_pb2_grpc.HealthStub(server.open_channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
    held[0].cancel()
    eventually(lambda: answers(server))


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_one_health_call_too_many_ends_the_oldest_and_every_probe_is_answered(
    stopped_server: Server, method: str
) -> None:
    server = limited(stopped_server, health_calls=2, calls=1)
    held = idle_stream(server)
    with RawConnection(server.address) as silent:
        streams = [silent.call("", path=f"{HEALTH}{method}") for _ in range(3)]
        silent.flush()
        assert silent.status(streams[0])[0] == OVERLOADED
        health: Any = health_pb2_grpc.HealthStub(server.open_channel)
        probe = health_pb2.HealthCheckRequest()
        answer = health.Check(probe, timeout=60) if method == "Check" else next(health.Watch(probe, timeout=60))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert silent.status(streams[1])[0] == OVERLOADED
    assert failure_of(lambda: server.stub.Stats(STATS)).reason == "OVERLOADED", "the call was held no more"
    held.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_many_health_calls_of_one_address_end_none_of_another(stopped_server: Server, method: str) -> None:
    server = limited(stopped_server, health_calls=10)
    with RawConnection(server.address, source="127.0.0.2") as probe, RawConnection(server.address) as many:
        waiting = probe.call("", path=f"{HEALTH}{method}")
        probe.flush()
        eventually(lambda: not probe.receive(0.05))
        streams = [many.call("", path=f"{HEALTH}{method}") for _ in range(30)]
        many.flush()
        assert [many.status(stream)[0] for stream in streams[:21]] == [OVERLOADED] * 21
        probe.send(waiting, b"")
        if method == "Check":
            assert probe.status(waiting)[0] == "0"
        else:
            probe.until(DataReceived)


def test_one_caller_leaves_watches_to_others(stopped_server: Server) -> None:
    server = limited(stopped_server, watches=4, watches_per_caller=2)
    held = [server.stub.Watch(pb.WatchRequest()) for _ in range(2)]
    assert all(next(watch).revision for watch in held)
    assert failure_of(lambda: next(server.stub.Watch(pb.WatchRequest()))).reason == "OVERLOADED"
    with RawConnection(server.address, source="127.0.0.2") as other:
        stream = other.call("Watch")
        other.send(stream, b"")
        other.until(DataReceived)
    for watch in held:
        watch.cancel()


def test_one_watch_too_many_is_refused_and_takes_no_other_call_s_place(stopped_server: Server) -> None:
    server = limited(stopped_server, watches=2, calls=1)
    held = [server.stub.Watch(pb.WatchRequest()) for _ in range(2)]
    assert all(next(watch).revision for watch in held)
    assert failure_of(lambda: next(server.stub.Watch(pb.WatchRequest()))).reason == "OVERLOADED"
    assert server.stub.Stats(STATS).revision
    held[0].cancel()

    def watches() -> bool:
        watch = server.stub.Watch(pb.WatchRequest())
        try:
            return bool(next(watch).revision)
        except grpc.RpcError:
            return False
        finally:
            watch.cancel()

    eventually(watches)


def answers(server: Server) -> bool:
    try:
        return bool(server.stub.Stats(STATS).revision)
    except grpc.RpcError:
        return False


def test_connections_fit_into_the_descriptors_that_there_are(stopped_server: Server) -> None:
    server = stopped_server
    server.prefix = ["prlimit", "--nofile=300:300"]
    server.start()
    eventually(lambda: '"connections": 150' in server.log)
    assert server.stats().total == 0
    host, _, port = server.address.rpartition(":")
    with ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        # The connection that stands is served, and so are the ledger and the files.
        assert server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")).created
        assert list(server.stub.StreamExport(pb.StreamExportRequest()))
        eventually(lambda: server.approved.exists() and server.approved.stat().st_size > 0)
    assert server.stop() == 0


def test_a_low_soft_limit_of_descriptors_is_raised(stopped_server: Server) -> None:
    server = stopped_server
    server.prefix = ["prlimit", "--nofile=300:5000"]
    server.start()
    limits = [Path(f"/proc/{pid}/limits").read_text() for pid in server.processes("worker")]
    assert any(re.search(r"^Max open files\s+1200 ", text, re.MULTILINE) for text in limits)
    assert "fewer connections" not in server.log


def test_a_call_that_sends_no_message_counts_and_is_freed_when_its_caller_disappears(stopped_server: Server) -> None:
    server = limited(stopped_server, calls=1)
    with RawConnection(server.address) as silent:

        def holds_the_only_place() -> bool:
            # It is refused itself where it comes while the other call is under way.
            silent.call("Stats")
            silent.flush()
            return not answers(server)

        eventually(holds_the_only_place)
        assert failure_of(lambda: server.stub.Stats(STATS)).reason == "OVERLOADED"
    eventually(lambda: answers(server))


def test_a_call_ends_at_the_servers_own_deadline(stopped_server: Server) -> None:
    server = limited(stopped_server, call_seconds=0.5, stream_seconds=1)
    with RawConnection(server.address) as silent:
        streams = [silent.call("Stats"), silent.call("", path=f"{HEALTH}Check")]
        silent.flush()
        for stream in streams:
            assert silent.status(stream)[0] == str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
    held = idle_stream(server)
    failure = failure_of(lambda: list(held))
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TOO_LONG")
    assert answers(server)


def test_changes_beyond_those_that_may_wait_are_refused_and_nothing_of_them_is_stored(stopped_server: Server) -> None:
    server = limited(stopped_server, waiting_writes=1)

    def send(number: int) -> bool:
        item = pb.IngestRequest(source="s", task_type="t", prompt=f"p{number}", correction="c")
        try:
            return server.ingest(item).created
        except grpc.RpcError as error:
            failed: Any = error
            status = rpc_status.from_call(failed)
            assert "OVERLOADED" in str(status) and retry_seconds(status) >= 1
            return False

    with ThreadPoolExecutor(32) as pool:
        stored = sum(pool.map(send, range(640)))
    assert 0 < stored < 640
    assert server.stats().total == stored


def test_a_socket_that_says_nothing_is_closed(stopped_server: Server) -> None:
    server = limited(stopped_server, handshake_seconds=1)
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as silent:
        while silent.recv(4_096):
            pass


def test_a_peer_that_does_not_acknowledge_the_settings_is_closed(stopped_server: Server) -> None:
    server = limited(stopped_server, handshake_seconds=1)
    with RawConnection(server.address) as rude:
        rude.socket.settimeout(20)
        while rude.socket.recv(4_096):
            pass


def test_a_client_that_pings_too_often_is_sent_away_and_one_that_does_not_stays(stopped_server: Server) -> None:
    server = limited(stopped_server, client_ping_seconds=1)
    with RawConnection(server.address) as flood:
        for number in range(10):
            flood.http.ping(number.to_bytes(8, "big"))
        flood.flush()
        assert flood.until(ConnectionTerminated).error_code == 11  # ENHANCE_YOUR_CALM
    with RawConnection(server.address) as patient:
        for number in range(4):
            patient.http.ping(number.to_bytes(8, "big"))
            patient.flush()
            time.sleep(1.1)
        while patient.receive(0.2):
            pass
        assert patient.open and patient.is_going_away() is None


def test_a_peer_that_answers_no_ping_is_gone(stopped_server: Server) -> None:
    server = limited(stopped_server, ping_seconds=1, ping_timeout_seconds=1, calls=1)
    with RawConnection(server.address) as dead:
        dead.receive()
        dead.call("Stats")
        dead.flush()
        eventually(lambda: not answers(server))
        eventually(lambda: answers(server))


def test_an_idle_connection_is_asked_to_close(stopped_server: Server) -> None:
    server = limited(stopped_server, idle_seconds=1)
    with RawConnection(server.address) as idle:
        assert idle.until(ConnectionTerminated).additional_data == b"connection idle"


def test_an_old_connection_is_asked_to_close(stopped_server: Server) -> None:
    server = limited(stopped_server, connection_seconds=1)
    with RawConnection(server.address) as old:
        stream = old.call("StreamIngest", ("authorization", f"Bearer {SECRET}"))
        old.flush()
        assert old.until(ConnectionTerminated).error_code == 0
        ended = [event for event in old.events if isinstance(event, StreamEnded | StreamReset)]
        assert stream not in [event.stream_id for event in ended]


@pytest.mark.parametrize(
    "given", ["calls", "calls=", "calls=0", "calls=-1", "calls=many", "colour=1", "idle_seconds=9e9"]
)
def test_a_limit_that_is_none_is_refused_with_what_to_write(given: str) -> None:
    command = [str(BIN / "avocet-grpc"), "serve", "--limit", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=ROOT)
    assert done.returncode == 2
    assert given in done.stderr and "Traceback" not in done.stderr
