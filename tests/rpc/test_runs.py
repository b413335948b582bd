"""Benchmark runs and their import."""

from __future__ import annotations

import os

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, failure_of, lines, make_run, queue_ids, records


def test_without_a_directory_there_are_no_runs(quiet_server: Server) -> None:
    assert list(quiet_server.stub.ListRuns(pb.ListRunsRequest()).runs) == []
    failure = failure_of(lambda: quiet_server.stub.Import(pb.ImportRequest(run_id="2025-03-01-120000")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
    assert failure.resource == "2025-03-01-120000"


def test_a_run_that_is_a_pipe_or_has_a_name_that_import_refuses_is_none(server: Server) -> None:
    server.set_runs_directory()
    (server.runs / "pipe").mkdir()
    os.mkfifo(server.runs / "pipe" / "sft_candidates.jsonl")
    make_run(server.runs, "foo..bar", count=1)
    assert list(server.stub.ListRuns(pb.ListRunsRequest()).runs) == []
    failure = failure_of(lambda: server.stub.Import(pb.ImportRequest(run_id="pipe"), timeout=30))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND")
    assert server.stop() == 0


def test_a_byte_order_mark_at_the_start_of_a_run_is_skipped(server: Server) -> None:
    server.set_runs_directory()
    made = make_run(server.runs, "marked", count=2)
    path = server.runs / "marked" / "sft_candidates.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (run,) = server.stub.ListRuns(pb.ListRunsRequest()).runs
    assert (run.candidate_count, run.malformed_count) == (2, 0)
    assert server.stub.Import(pb.ImportRequest(run_id="marked")).imported == 2
    assert list(queue_ids(server)) == [one["id"] for one in made]
    if server.has_files:
        eventually(lambda: records(server.candidates) == made)


def test_runs_are_listed_newest_first_with_their_counts_and_paged(server: Server) -> None:
    server.set_runs_directory()
    names = ["2025-03-01-120000", "2025-03-02-120000", "any-name"]
    for number, name in enumerate(names):
        make_run(server.runs, name, count=number + 1, malformed=number)
    (server.runs / "not-a-run").mkdir()
    server.stub.Import(pb.ImportRequest(run_id=names[0]))
    first = server.stub.ListRuns(pb.ListRunsRequest(page_size=2))
    second = server.stub.ListRuns(pb.ListRunsRequest(page_size=2, page_token=first.next_page_token))
    assert second.next_page_token == ""
    seen = [
        (run.run_id, run.timestamp, run.candidate_count, run.malformed_count, run.already_imported)
        for run in [*first.runs, *second.runs]
    ]
    assert seen == [
        ("any-name", "any-name", 3, 2, False),
        ("2025-03-02-120000", "2025-03-02-120000", 2, 1, False),
        ("2025-03-01-120000", "2025-03-01-120000", 1, 0, True),
    ]


def test_an_import_takes_the_records_as_they_are_and_a_second_one_does_no_harm(server: Server) -> None:
    server.set_runs_directory()
    made = make_run(server.runs, "2025-03-01-120000", count=5, malformed=1)
    answer = server.stub.Import(pb.ImportRequest(run_id="2025-03-01-120000"))
    assert (answer.imported, answer.skipped, answer.malformed) == (5, 0, 1)
    if server.has_files:
        eventually(lambda: records(server.candidates) == made if server.candidates.exists() else None)
        assert lines(server.candidates) == lines(server.runs / "2025-03-01-120000" / "sft_candidates.jsonl")[:5]
    assert list(queue_ids(server)) == [one["id"] for one in made]
    assert len({item.revision for item in server.stub.Queue(pb.QueueRequest()).items}) == 1

    server.correct(made[0]["id"])
    answer = server.stub.Import(pb.ImportRequest(run_id="2025-03-01-120000"))
    assert (answer.imported, answer.skipped, answer.malformed) == (0, 5, 1)
    assert server.stats().by_status == {"needs_review": 4, "approved": 1}


def test_stats_count_by_every_key_and_honour_a_filter(server: Server) -> None:
    server.set_runs_directory()
    made = make_run(server.runs, "r", count=6)
    server.stub.Import(pb.ImportRequest(run_id="r"))
    server.correct(made[0]["id"], failure_category=pb.FAILURE_CATEGORY_FORMAT_ERROR)
    stats = server.stats()
    assert (stats.total, stats.export_ready) == (6, 1)
    assert stats.by_status == {"needs_review": 5, "approved": 1}
    assert stats.by_model == {"Heron 7B": 6}
    assert stats.by_source == {"benchmark": 6}
    assert stats.by_failure_category == {"format_error": 1}
    by_task = {kind: sum(one["task_type"] == kind for one in made) for kind in ("code", "summary")}
    assert stats.by_task_type == by_task
    part = server.stub.Stats(pb.StatsRequest(filter=pb.CandidateFilter(task_types=["code"])))
    assert part.total == by_task["code"]
    assert part.by_task_type == {"code": by_task["code"]}
