"""Lists, history, batches, snapshots, uploads, health, metadata: both clients at a real server."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import avocet_client
from avocet_client import CandidateFilter, Decision
from avocet_client.batch_state import PIECE_DECISIONS, Batch
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Make
from tests.client.drivers import Proxy, wait_for
from tests.client.fake import FakeServer
from tests.support import Server, eventually, make_run, record, write_records

IDS = [f"c{number:03d}" for number in range(7)]


@pytest.fixture
def stopped_server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(id, task_type="code") for id in IDS])
    return stopped_server


def test_pagers_follow_the_tokens_to_the_end(client: Any, server: Server) -> None:
    assert [item.id for item in client.in_review(page_size=3)] == IDS
    assert [item.id for item in client.in_review(page_size=2, order="timestamp_desc", filter=CandidateFilter())]
    assert [len(page.items) for page in client.in_review(page_size=3).pages()] == [3, 3, 1]
    for id in IDS[:5]:
        client.submit(id, action="flag", reviewer="kim")
    assert [item.id for item in client.candidates(statuses=["model_rejected"], page_size=2)] == IDS[:5]
    assert [item.id for item in client.candidates(text=f"case {IDS[3]}")] == [IDS[3]]
    assert [change.id for change in client.history(page_size=2, actions=["flag"])] == IDS[4::-1]
    assert [change.id for change in client.history(actors=["kim"], oldest_first=True, page_size=4)] == IDS[:5]
    assert list(client.history(id="unknown")) == []
    for number in range(5):
        client.create_snapshot(f"s{number}")
    assert [each.name for each in client.snapshots(page_size=2)] == ["s4", "s3", "s2", "s1", "s0"]
    for number in range(3):
        make_run(server.runs, f"2025-03-0{number + 1}-120000", count=1)
    client.set_config(bench_results_dir=str(server.runs))
    assert len({run.run_id for run in client.runs(page_size=2)}) == 3


def test_a_pager_mixes_items_and_pages_without_losing_or_repeating_any(client: Any) -> None:
    pager = client.in_review(page_size=2)
    assert next(pager).id == IDS[0]
    rest = [item.id for page in pager.pages() for item in page.items]
    assert [IDS[0]] + [item.id for item in pager] + rest == IDS
    with pytest.raises(StopIteration):
        next(pager)


def test_a_pager_goes_on_after_an_error_where_it_stood(make_client: Make, server: Server) -> None:
    client = make_client(server.address)
    pager = client.in_review(page_size=3)
    assert [next(pager).id for _ in range(3)] == IDS[:3]
    server.listen = server.address
    server.kill()
    with pytest.raises(avocet_client.TransportError):
        next(pager)
    server.start()
    wait_for(client)
    assert [item.id for item in pager] == IDS[3:]


def test_the_queue_is_narrowed_by_who_holds_what(client: Any) -> None:
    with client.hold(reviewer="kim", limit=2):
        assert [item.id for item in client.queue(claims="claimed").items] == IDS[:2]
        assert [item.id for item in client.queue(claims="mine", reviewer="kim").items] == IDS[:2]
        assert list(client.in_review(claims="mine", reviewer="ann")) == []
        assert [item.id for item in client.in_review(claims="unclaimed", page_size=2)] == IDS[2:]


def test_many_decisions_go_in_pieces_and_each_has_its_result(make_client: Make, stopped_server: Server) -> None:
    ids = [f"m{number:04d}" for number in range(2 * PIECE_DECISIONS + 1)]
    write_records(stopped_server.candidates, [record(id) for id in ids])
    client = make_client(stopped_server.start().address)
    decisions = [Decision(id=id, action="flag", reviewer="kim") for id in ids]
    decisions[3] = Decision(id="unknown", action="flag")
    decisions[4] = Decision(id=ids[4], action="correct", corrected_message={"tool_calls": [{"id": "x"}]})
    results = client.submit_many(decisions, request_id="r")
    assert [result.id for result in results] == [decision.id for decision in decisions]
    assert isinstance(results[3].error, avocet_client.CandidateNotFound) and results[3].status is None
    assert (results[4].status, results[5].status, results[5].error) == ("approved", "model_rejected", None)
    assert results[5].revision == client.get_candidate(ids[5]).revision
    assert [(each.revision, type(each.error)) for each in client.submit_many(decisions, request_id="r")] == [
        (each.revision, type(each.error)) for each in results
    ], "the same batch again is not decided again"
    assert isinstance(client.submit_many(decisions[:1])[0].error, avocet_client.NotInReview)
    assert client.submit_many([]) == []


def test_large_decisions_are_cut_by_size_and_the_same_way_each_time() -> None:
    text = "x" * 3_000_000
    decisions = [Decision(id=f"{number}", action="correct", corrected_response=text) for number in range(3)]
    calls = list(Batch(decisions, "r").calls(None, ()))
    assert [[one.id for one in call.request.decisions] for call in calls] == [["0"], ["1"], ["2"]]
    assert [call.request.request_id for call in calls] == ["r", "r/1", "r/2"]
    assert {call.request_id for call in calls} == {"r"}
    with pytest.raises(ValueError, match="request_id"):
        Batch(decisions, "r" * 101)


def test_a_batch_sits_out_a_restart_and_decides_each_once(make_client: Make, stopped_server: Server) -> None:
    ids = [f"m{number:04d}" for number in range(3 * PIECE_DECISIONS)]
    write_records(stopped_server.candidates, [record(id) for id in ids])
    server = stopped_server.start()
    proxy = Proxy(server.address)
    client = make_client(proxy.address)
    client.stats()
    proxy.lose_answers(1, longer_than=1_000)

    def restart() -> None:
        eventually(lambda: proxy.lost, within=60)
        server.kill()
        proxy.target = server.start().address

    thread = threading.Thread(target=restart)
    thread.start()
    results = client.submit_many([Decision(id=id, action="discard") for id in ids])
    thread.join()
    proxy.close()
    assert [result.error for result in results if result.error] == []
    assert len({result.revision for result in results}) == len(ids)
    assert server.stats().by_status == {"discarded": len(ids)}


def test_snapshots_are_made_read_exported_and_deleted(client: Any) -> None:
    client.submit(IDS[0], action="correct", corrected_response="better")
    made = client.create_snapshot("run-1", note="the first")
    client.submit(IDS[1], action="correct", corrected_response="later")
    assert (made.name, made.note, made.example_count) == ("run-1", "the first", 1)
    assert client.get_snapshot("run-1") == made
    assert [example.id for example in client.export(snapshot="run-1")] == [IDS[0]]
    with pytest.raises(avocet_client.SnapshotExists) as caught:
        client.create_snapshot("run-1")
    assert caught.value.metadata == {"snapshot": "run-1", "revision": str(made.revision)}
    client.delete_snapshot("run-1")
    with pytest.raises(avocet_client.SnapshotNotFound):
        client.get_snapshot("run-1")


def test_a_run_is_uploaded_from_its_directory_or_its_file(client: Any, tmp_path: Path) -> None:
    large = {"model_response": "long " * 60_000}
    make_run(tmp_path, "2025-04-01-120000", count=3, malformed=1)
    file = tmp_path / "2025-04-01-120000" / "sft_candidates.jsonl"
    with file.open("a") as run:
        run.writelines(f"{json.dumps(record(f'big{number}', **large))}\n" for number in range(10))
    seen: list[tuple[int, int]] = []
    answer = client.upload_run(file.parent, on_progress=lambda done, total: seen.append((done, total)))
    assert (answer.imported, answer.malformed, answer.skipped) == (13, 1, 0)
    size = file.stat().st_size
    assert len(seen) == 4 and seen[-1] == (size, size)
    assert client.upload_run(file).skipped == 13
    write_records(file, [record("2025-04-01-120000-0000", model_response="another")])
    assert client.upload_run(file, on_conflict=pb.ON_CONFLICT_QUALIFY).qualified == 1
    assert client.get_candidate("2025-04-01-120000/2025-04-01-120000-0000").model_response == "another"
    assert client.upload_run(file, run_id="other", on_conflict=pb.ON_CONFLICT_QUALIFY).qualified == 1
    assert client.get_candidate("other/2025-04-01-120000-0000").id
    with pytest.raises(avocet_client.InvalidField):
        client.upload_run(file, run_id="../x")


def test_an_upload_refuses_what_is_not_a_regular_file(client: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "run" / "sft_candidates.jsonl").mkdir(parents=True)
    for path in (tmp_path / "pipe", tmp_path / "run", Path("/dev/zero")):
        with pytest.raises(ValueError, match="not a regular file"):
            client.upload_run(path)
    with pytest.raises(FileNotFoundError):
        client.upload_run(tmp_path / "missing")


def test_an_error_while_a_run_is_read_is_the_error_of_the_call(client: Any, tmp_path: Path) -> None:
    make_run(tmp_path, "run", count=3)

    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.upload_run(tmp_path / "run", on_progress=fail)


def test_health_and_version_are_words(client: Any, server: Server) -> None:
    assert client.health() == client.health(service="") == "serving"
    assert client.version() == client.get_version()
    assert client.version().engine == server.engine_name
    server.kill()
    with pytest.raises(avocet_client.TransportError):
        client.health(timeout=5)


def test_a_calls_metadata_goes_with_it_and_wins_over_the_clients(make_client: Make) -> None:
    seen: list[dict[str, str]] = []

    def behave(name: str, request: Any, context: Any) -> Any:
        seen.append(dict(context.invocation_metadata()))
        return pb.StatsResponse() if name == "Stats" else pb.ListSnapshotsResponse()

    server = FakeServer(behave)
    client = make_client(server.address, token="mine")
    client.stats(metadata=[("x-trace", "1")])
    client.stats(metadata=[("authorization", "Bearer another")])
    assert list(client.snapshots(metadata=[("x-trace", "2")])) == []
    server.close()
    assert [(each["authorization"], each.get("x-trace")) for each in seen] == [
        ("Bearer mine", "1"),
        ("Bearer another", None),
        ("Bearer mine", "2"),
    ]
