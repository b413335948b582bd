"""What an operator sees: metrics for Prometheus, one log line a call, and traces."""

from __future__ import annotations

import contextlib
import http.client
import inspect
import json
import os
import platform
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from avocet_grpc import __version__
from avocet_grpc.core.observer import Observer
from avocet_grpc.telemetry import guard, listener
from tests.operate.support import refused_start
from tests.support import BIN, ROOT, Server, bearer, eventually, failure_of, record, write_records

OURS = "/avocet.corrections.v1.CorrectionsService/"
Samples = dict[tuple[str, str], float]


@pytest.fixture
def measured(stopped_server: Server) -> Server:
    stopped_server.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0"}
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(5)])
    with stopped_server.candidates.open("a") as file:
        file.write('{"id": "torn\n')
    return stopped_server.start()


def scrape(server: Server) -> str:
    (url,) = re.findall(r"metrics on (http\S+)", server.log)[-1:]
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read(), "utf-8")


def samples(server: Server) -> Samples:
    """Each sample's value, by its name and its labels' values (method before code)."""
    families = text_string_to_metric_families(scrape(server))
    found = [sample for family in families for sample in family.samples]
    return {(s.name, " ".join(s.labels[name] for name in sorted(s.labels, reverse=True))): s.value for s in found}


def test_calls_are_counted_by_method_and_code_and_timed(measured: Server) -> None:
    for _ in range(3):
        measured.stats()
    failure_of(lambda: measured.stub.GetCandidate(pb.GetCandidateRequest(id="none")))
    failure_of(lambda: measured.stub.Ingest(pb.IngestRequest()))
    eventually(lambda: samples(measured).get(("avocet_calls_total", f"{OURS}Ingest UNAUTHENTICATED")))
    seen = samples(measured)
    assert seen["avocet_calls_total", f"{OURS}Stats OK"] == 3
    assert seen["avocet_calls_total", f"{OURS}GetCandidate NOT_FOUND"] == 1
    assert seen["avocet_calls_total", f"{OURS}Ingest UNAUTHENTICATED"] == 1
    assert seen["avocet_call_seconds_count", f"{OURS}Stats"] == 3
    assert 0 < seen["avocet_call_seconds_sum", f"{OURS}Stats"] < 60


def test_what_several_workers_count_is_added_up_and_the_state_of_the_ledger_is_not(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0", "AVOCET_WORKERS": "2"}
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(5)])
    server = stopped_server.start()
    asked = asked_of_both(server)
    eventually(lambda: samples(server).get(("avocet_calls_total", f"{OURS}Stats OK")) == asked or None)
    assert samples(server)["avocet_candidates", "needs_review"] == 5


def test_a_counter_never_falls_whatever_becomes_of_a_process(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0", "AVOCET_WORKERS": "2"}
    server = stopped_server.start()

    def counted() -> float:
        return samples(server)["avocet_calls_total", f"{OURS}Stats OK"]

    asked = asked_of_both(server)
    eventually(lambda: counted() == asked or None)
    worker = server.processes("worker")[0]
    os.kill(worker, signal.SIGSTOP)
    try:
        assert counted() == asked
    finally:
        os.kill(worker, signal.SIGCONT)
    assert counted() == asked
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: samples(server)["avocet_process_restarts_total", "worker 1"] == 1 or None)
    assert counted() == asked
    eventually(lambda: len(server.processes("worker")) == 2 or None)
    asked += asked_of_both(server)
    eventually(lambda: counted() == asked or None)


def asked_of_both(server: Server) -> int:
    """Call `Stats` until both workers have answered; return how often."""
    before, asked = len(calls_logged(server)), 0
    while len({line["process"] for line in calls_logged(server)[before:]}) < 2:
        # Each connection is some worker's.
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(channel)
            stub.Stats(pb.StatsRequest(), timeout=60, wait_for_ready=True)
        asked += 1
    return asked


def test_the_ledgers_state_and_its_commits_are_shown(measured: Server) -> None:
    before = samples(measured)
    assert before["avocet_queue_depth", ""] == before["avocet_candidates", "needs_review"] == 5
    assert before["avocet_malformed_lines", ""] == 1
    measured.correct("c0")
    measured.stub.Submit(pb.SubmitRequest(id="c1", action=pb.ACTION_DISCARD))
    after = samples(measured)
    assert after["avocet_queue_depth", ""] == 3
    assert (after["avocet_exportable_examples", ""], after["avocet_candidates", "discarded"]) == (1, 1)
    assert after["avocet_commit_changes_sum", ""] - before["avocet_commit_changes_sum", ""] >= 2
    assert after["avocet_commit_sync_seconds_count", ""] > before["avocet_commit_sync_seconds_count", ""]
    assert after["avocet_ledger_readable", ""] == 1
    assert after["process_resident_memory_bytes", ""] > 1 << 20
    eventually(lambda: samples(measured)["avocet_files_pending_lines", "sft_candidates.jsonl"] == 0)


def test_exports_under_way_are_shown_until_they_end(measured: Server) -> None:
    for number in range(20):
        item = pb.IngestRequest(source="s", task_type="t", prompt=str(number), correction="c" * 500_000)
        measured.ingest(item)
    export = measured.stub.StreamExport(pb.StreamExportRequest(batch_size=1))
    next(export)
    assert samples(measured)["avocet_exports_under_way", ""] == 1
    export.cancel()
    eventually(lambda: samples(measured)["avocet_exports_under_way", ""] == 0)


def test_claims_watches_snapshots_and_what_is_kept_are_shown(stopped_server: Server) -> None:
    second = str(2 / 86_400)
    stopped_server.environment = {
        "AVOCET_METRICS_LISTEN": "127.0.0.1:0",
        "AVOCET_KEEP_HISTORY": second,
        "AVOCET_KEEP_REVISIONS": second,
    }
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(5)])
    server = stopped_server.start()
    before = samples(server)
    names = ("avocet_claimed_candidates", "avocet_snapshots", "avocet_watches_under_way", "avocet_pruned_rows_total")
    assert [before[name, ""] for name in names] == [0, 0, 0, 0]
    claimed = server.stub.Claim(pb.ClaimRequest(reviewer="ann", limit=3)).claims
    server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="s"))
    watches = [server.stub.Watch(pb.WatchRequest()) for _ in range(2)]
    for watch in watches:
        next(watch)
    assert [samples(server)[name, ""] for name in names[:3]] == [3, 1, 2]
    for watch in watches:
        watch.cancel()
    server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[claim.lease_id for claim in claimed[:2]]))
    server.stub.DeleteSnapshot(pb.DeleteSnapshotRequest(name="s"))
    eventually(lambda: [samples(server)[name, ""] for name in names[:3]] == [1, 0, 0])
    decided = [server.correct(f"c{n}").revision for n in range(3, 5)]
    eventually(lambda: samples(server)["avocet_pruned_rows_total", ""] > 0)
    kept = [("avocet_kept_from_revision", what) for what in ("history", "exports")]
    eventually(lambda: all(samples(server)[key] >= decided[-1] for key in kept))
    assert all(before[key] < decided[0] for key in kept)


def test_every_metric_of_ours_is_explained_to_operators(measured: Server) -> None:
    measured.stub.Submit(pb.SubmitRequest(id="c0", action=pb.ACTION_FLAG))
    named = re.findall(r"^# HELP (avocet_\w+)", scrape(measured), re.MULTILINE)
    shown = {name for name in named if not name.endswith("_created")}
    page = set(re.findall(r"`(avocet_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    assert shown - page == set()
    assert {"avocet_claimed_candidates", "avocet_kept_from_revision", "avocet_process_restarts_total"} <= shown


def test_status_words_of_others_make_no_series_of_their_own(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0"}
    write_records(stopped_server.candidates, [record(f"c{n}", status=f"word-{n}") for n in range(5)])
    server = stopped_server.start()
    assert samples(server)["avocet_candidates", "other"] == 5
    assert "word-" not in scrape(server)


def test_a_metrics_port_that_is_taken_ends_the_start_in_one_clear_line(measured: Server, tmp_path: Path) -> None:
    (url,) = re.findall(r"metrics on http://(\S+)/metrics", measured.log)
    other = Server(tmp_path / "other")
    other.environment = {"AVOCET_METRICS_LISTEN": url}
    code, said = refused_start(other)
    assert (code, len(said.strip().splitlines())) == (1, 1)
    assert f"cannot listen on {url} for metrics" in said


def answer(server: Server, path: str, method: str = "GET") -> tuple[int, str]:
    (base,) = re.findall(r"metrics on (http\S+)/metrics", server.log)[-1:]
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, method=method), timeout=60) as found:
            return found.status, str(found.read(), "utf-8")
    except urllib.error.HTTPError as error:
        return error.code, str(error.read(), "utf-8")


def test_the_listener_has_metrics_and_health_and_nothing_else(measured: Server) -> None:
    assert eventually(lambda: answer(measured, "/healthz") == (200, "ok\n"))
    assert answer(measured, "/metrics")[0] == 200
    for path in ("/", "/metrics/", "/metricsx", "/healthz/", "/favicon.ico", "/healthz/../metrics", "/%2e"):
        assert answer(measured, path)[0] == 404, path
    for path in ("/metrics", "/healthz"):
        assert answer(measured, path, "POST")[0] == 405
        assert answer(measured, path, "HEAD") == (200, "")


def test_a_collector_that_fails_ends_neither_the_listener_nor_health() -> None:
    class Failing(Collector):
        def collect(self) -> Iterator[Metric]:
            raise RuntimeError("broken")

    registry = CollectorRegistry()
    port, end = listener.serve("127.0.0.1", 0, registry, lambda: True)
    failing = Failing()

    def status(path: str) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status

    try:
        assert (status("/metrics"), status("/healthz")) == (200, 200)
        registry._collector_to_names[failing] = []
        assert [status(path) for path in ("/metrics", "/healthz", "/metrics", "/healthz")] == [500, 200, 500, 200]
        registry.unregister(failing)
        assert status("/metrics") == 200
    finally:
        end()


OBSERVED = [name for name in vars(Observer) if not name.startswith("_")]


@pytest.mark.parametrize("method", OBSERVED)
def test_an_observer_that_fails_is_counted_and_ends_nothing(method: str) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    broken = Observer()
    setattr(broken, method, fail)
    told, before = getattr(guard.GuardedObserver(broken), method), guard.failures["observer"]
    told(*[1 for _ in inspect.signature(getattr(Observer(), method)).parameters])
    assert guard.failures["observer"] == before + 1


def test_health_says_no_until_the_server_serves_and_during_a_stop() -> None:
    said: list[bool] = []
    port, end = listener.serve("127.0.0.1", 0, CollectorRegistry(), lambda: said[-1])
    try:
        for serving, status in ((False, 503), (True, 200), (False, 503)):
            said.append(serving)
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                connection.request("GET", "/healthz")
                assert connection.getresponse().status == status
    finally:
        end()


def test_health_says_no_once_a_stop_has_begun(measured: Server) -> None:
    eventually(lambda: answer(measured, "/healthz")[0] == 200)
    held = measured.stub.StreamIngest(iter(_slowly()), metadata=bearer())
    assert next(held).results[0].created
    measured.process.terminate()
    eventually(lambda: answer(measured, "/healthz")[0] == 503)
    assert measured.ended() == 0


def _slowly() -> Iterator[pb.StreamIngestRequest]:
    item = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")
    for _ in range(3):
        yield pb.StreamIngestRequest(items=[item])
        time.sleep(1)


def test_a_metric_says_which_build_is_running(measured: Server) -> None:
    (family,) = [one for one in text_string_to_metric_families(scrape(measured)) if one.name == "avocet_build_info"]
    (sample,) = family.samples
    assert sample.value == 1
    assert sample.labels == {
        "version": __version__,
        "python": platform.python_version(),
        "grpc": grpc.__version__,
    }


def calls_logged(server: Server) -> list[dict[str, Any]]:
    lines = [line for line in server.log.splitlines() if '"event": "call"' in line]
    return [json.loads(line) for line in lines]


def test_a_call_is_one_line_of_json_that_says_who_what_and_how_long_but_never_what_was_in_it(measured: Server) -> None:
    metadata = (*bearer(), ("x-correlation-id", "mine-1"))
    item = pb.IngestRequest(source="kiwi", task_type="t", prompt="secret-prompt", correction="secret-correction")
    measured.stub.Ingest(item, metadata=metadata)
    (line,) = eventually(lambda: [one for one in calls_logged(measured) if one["method"] == f"{OURS}Ingest"])
    assert line["code"] == "OK" and line["level"] == "info"
    assert line["principal"] == "ingestion-secret"
    assert line["correlation_id"] == "mine-1"
    assert 0 < line["duration_ms"] < 60_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["timestamp"])
    assert "secret-prompt" not in measured.log and "secret-correction" not in measured.log


@pytest.mark.parametrize("sent", ['"quoted"', "x" * 129, "line\\n", "é"])
def test_a_correlation_id_that_could_break_the_log_is_replaced(quiet_server: Server, sent: str) -> None:
    before = len(calls_logged(quiet_server))
    grpcurl = [str(BIN / "grpcurl"), "-plaintext", "-H", f"x-correlation-id: {sent}", quiet_server.address]
    subprocess.run([*grpcurl, f"{OURS[1:]}Stats"], check=True, capture_output=True, timeout=30)
    new = eventually(lambda: calls_logged(quiet_server)[before:])
    assert all(re.fullmatch(r"[0-9a-f]{16}", line["correlation_id"]) for line in new)


def test_a_trace_names_its_call_in_the_log(quiet_server: Server) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    quiet_server.stub.Stats(pb.StatsRequest(), metadata=(("traceparent", f"00-{trace}-b7ad6b7169203331-01"),))
    eventually(lambda: [one for one in calls_logged(quiet_server) if one["correlation_id"] == trace])


def test_calls_are_traced_where_opentelemetry_is_asked_for(stopped_server: Server) -> None:
    stopped_server.prefix = [str(BIN / "opentelemetry-instrument")]
    stopped_server.environment = {
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    server = stopped_server.start()
    server.stats()
    failure_of(lambda: server.stub.GetCandidate(pb.GetCandidateRequest(id="none")))
    eventually(lambda: f'"name": "{OURS[1:]}Stats"' in server.log or f'"name": "{OURS}Stats"' in server.log)
    assert server.stop() == 0
    assert '"rpc.service": "avocet.corrections.v1.CorrectionsService"' in server.log


def test_others_edits_are_counted_as_accepted_or_undone(measured: Server) -> None:
    eventually(lambda: samples(measured)["avocet_files_lag_seconds", ""] == 0)
    stale = measured.candidates.read_text()
    measured.correct("c0")
    eventually(lambda: '"approved"' in measured.candidates.read_text())
    edited = stale.replace('"Blue sky"', '"Green sky"', 2).replace("Green", "Blue", 1)
    measured.candidates.write_text(edited)
    seen = ("avocet_foreign_edits_total", "undone"), ("avocet_foreign_edits_total", "accepted")
    eventually(lambda: all(samples(measured).get(key, 0) >= 1 for key in seen))
    assert measured.stub.GetCandidate(pb.GetCandidateRequest(id="c1")).candidate.task_name == "Green sky"


def test_the_lag_of_the_files_is_shown_while_they_cannot_be_written(measured: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    subprocess.run(["chattr", "+i", str(measured.candidates)], check=True)
    try:
        measured.correct("c0")
        eventually(lambda: samples(measured)["avocet_files_lag_seconds", ""] > 0.5)
        # The mirror reports once a second at most.
        eventually(lambda: samples(measured)["avocet_files_pending_lines", "sft_candidates.jsonl"] > 0)
    finally:
        subprocess.run(["chattr", "-i", str(measured.candidates)], check=True)
    eventually(lambda: samples(measured)["avocet_files_lag_seconds", ""] == 0)


def test_the_lag_of_the_files_grows_while_their_process_does_not_answer(measured: Server) -> None:
    def lag() -> float:
        return samples(measured)["avocet_files_lag_seconds", ""]

    eventually(lambda: lag() == 0)
    (mirror,) = measured.processes("mirror")
    os.kill(mirror, signal.SIGSTOP)
    try:
        first, second = lag(), lag()
        assert 1 < first < second
    finally:
        os.kill(mirror, signal.SIGCONT)
    eventually(lambda: lag() == 0)
    os.kill(mirror, signal.SIGSTOP)
    try:
        # It counts from when it was asked again, not from the time before.
        assert lag() < second
    finally:
        os.kill(mirror, signal.SIGCONT)
