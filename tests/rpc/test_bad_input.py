"""What callers send by mistake: refused with code, reason and field, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, bearer, eventually, failure_of, record, records, write_records

MOST = 4_000_000
TOO_LONG = "x" * 1_001
INGEST = {"source": "s", "task_type": "t", "prompt": "p", "correction": "c"}

Call = Callable[[Server], object]


def submit(**fields: Any) -> Call:
    given: dict[str, Any] = {"id": "a", "action": pb.ACTION_DISCARD} | fields
    return lambda server: server.stub.Submit(pb.SubmitRequest(**given))


def correct(text: str) -> Call:
    return submit(action=pb.ACTION_CORRECT, corrected_response=text)


def undo(**fields) -> Call:
    return lambda server: server.stub.Undo(pb.UndoRequest(**{"id": "a"} | fields))


def get(id: str) -> Call:
    return lambda server: server.stub.GetCandidate(pb.GetCandidateRequest(id=id))


def queue(**fields) -> Call:
    return lambda server: server.stub.Queue(pb.QueueRequest(**fields))


def filtered(**fields) -> Call:
    return queue(filter=pb.CandidateFilter(**fields))


def import_run(run_id: str) -> Call:
    return lambda server: server.stub.Import(pb.ImportRequest(run_id=run_id))


def ingest(**fields) -> Call:
    return lambda server: server.stub.Ingest(pb.IngestRequest(**INGEST | fields), metadata=bearer())


REFUSED: dict[str, tuple[Call, str]] = {
    "no id": (submit(id=""), "id"),
    "id with NUL": (submit(id="a\0b"), "id"),
    "id of 513 characters": (submit(id="x" * 513), "id"),
    "get without id": (get(""), "id"),
    "get with NUL": (get("a\0"), "id"),
    "undo without id": (undo(id=""), "id"),
    "no action": (submit(action=0), "action"),
    "unknown action": (submit(action=99), "action"),
    "negative action": (submit(action=-1), "action"),
    "no correction": (correct(""), "corrected_response"),
    "whitespace correction": (correct(" \t\r\n\u3000"), "corrected_response"),
    "correction of 4,000,001 characters": (correct("x" * (MOST + 1)), "corrected_response"),
    "unknown failure category": (submit(failure_category=99), "failure_category"),
    "long reviewer": (submit(reviewer=TOO_LONG), "reviewer"),
    "long request_id": (submit(request_id="x" * 129), "request_id"),
    "undo with a long reviewer": (undo(reviewer=TOO_LONG), "reviewer"),
    "negative page": (queue(page=-1), "page"),
    "negative per_page": (queue(per_page=-1), "per_page"),
    "unknown order": (queue(order=77), "order"),
    "nonsense token": (queue(page_token="nonsense"), "page_token"),
    "token not of ASCII": (queue(page_token="\u00e9"), "page_token"),
    "long filter value": (filtered(sources=["ok", TOO_LONG]), "filter.sources"),
    "unknown category in a filter": (filtered(failure_categories=[99]), "filter.failure_categories"),
    "no category in a filter": (filtered(failure_categories=[0]), "filter.failure_categories"),
    "NaN quality": (filtered(min_quality_score=float("nan")), "filter.min_quality_score"),
    "no run_id": (import_run(""), "run_id"),
    "run_id that climbs": (import_run("../x"), "run_id"),
    "run_id with a backslash": (import_run("a\\b"), "run_id"),
    "run_id of two dots": (import_run(".."), "run_id"),
    "run_id with NUL": (import_run("a\0"), "run_id"),
    "absolute run_id": (import_run("/etc"), "run_id"),
    "negative page_size": (lambda s: s.stub.ListRuns(pb.ListRunsRequest(page_size=-1)), "page_size"),
    "nonsense runs token": (lambda s: s.stub.ListRuns(pb.ListRunsRequest(page_token="x")), "page_token"),
    "no config": (lambda s: s.stub.SetConfig(pb.SetConfigRequest()), "config"),
    "relative directory": (
        lambda s: s.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir="a/b"))),
        "config.bench_results_dir",
    ),
    "ingest without source": (ingest(source=" "), "source"),
    "ingest without task type": (ingest(task_type=""), "task_type"),
    "ingest without prompt": (ingest(prompt="\n"), "prompt"),
    "ingest without correction": (ingest(correction=""), "correction"),
    "ingest with a long source": (ingest(source=TOO_LONG), "source"),
    "ingest with a long label": (ingest(label=TOO_LONG), "label"),
    "ingest with a long response": (ingest(response="x" * (MOST + 1)), "response"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_refused_by_its_field_and_changes_nothing(quiet_server: Server, name: str) -> None:
    call, field = REFUSED[name]
    before = quiet_server.stats()
    failure = failure_of(lambda: call(quiet_server))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert failure.domain == "avocet.corrections.v1"
    assert [path.split("[")[0] for path in failure.fields] == [field]
    assert failure.metadata["field"].split("[")[0] == field
    assert failure.message
    for secret in ("Traceback", str(quiet_server.directory)):
        assert secret not in failure.message
    assert quiet_server.stats() == before


def test_a_page_token_is_refused_with_another_filter_or_order_or_together_with_a_page(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(5)])
    server = stopped_server.start()
    token = server.stub.Queue(pb.QueueRequest(per_page=2)).next_page_token
    assert len(server.stub.Queue(pb.QueueRequest(per_page=2, page_token=token)).items) == 2
    for fields in (
        {"page_token": token, "filter": pb.CandidateFilter(sources=["benchmark"])},
        {"page_token": token, "order": pb.ORDER_QUALITY},
        {"page_token": token[:-4]},
        {"page_token": token[:-1]},
    ):
        failure = failure_of(lambda f=fields: server.stub.Queue(pb.QueueRequest(**f)))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])
    failure = failure_of(lambda: server.stub.Queue(pb.QueueRequest(page_token=token, page=2)))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.fields[0] in ("page", "page_token")


def test_a_correction_of_the_greatest_length_is_accepted(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record("a"), record("b")])
    server = stopped_server.start()
    server.correct("a", "y" * 2_000_000)
    server.correct("b", "z" * MOST)
    answers = [server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate for id in ("a", "b")]
    assert [len(answer.corrected_response) for answer in answers] == [2_000_000, MOST]
    if server.has_files:
        eventually(lambda: [len(r["corrected_response"]) for r in records(server.approved)] == [2_000_000, MOST])


def test_a_request_of_17_megabytes_is_refused_and_the_next_one_is_served(quiet_server: Server) -> None:
    before = quiet_server.stats()
    request = pb.SubmitRequest(id="a", action=pb.ACTION_CORRECT, corrected_response="x" * 17_000_000)
    failure = failure_of(lambda: quiet_server.stub.Submit(request))
    assert failure.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert quiet_server.stats() == before


def test_bytes_that_are_no_message_and_methods_that_are_not_there_do_no_harm(quiet_server: Server) -> None:
    before = quiet_server.stats()
    for method, code in (("Submit", None), ("Nothing", grpc.StatusCode.UNIMPLEMENTED)):
        call: Any = quiet_server.open_channel.unary_unary(f"/avocet.corrections.v1.CorrectionsService/{method}")
        failure = failure_of(lambda c=call: c(b"\xff\xff\xff"))
        assert failure.code == code or code is None
        assert "Traceback" not in failure.message
    assert quiet_server.stats() == before
