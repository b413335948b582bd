"""Every method, over the sync and the async client, at a real server."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import avocet_client
from avocet_client import (
    AsyncCorrectionsClient,
    CandidateFilter,
    Correction,
    CorrectionsClient,
    category_word,
    channel_options,
    status_word,
)
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Make
from tests.support import SECRET, Server, make_run, record, write_records

RUN = "2025-03-02-120000"


@pytest.fixture
def stopped_server(stopped_server: Server) -> Server:
    """With the candidates `a` (code), `b` (summary) and `c` (code) in review."""
    kinds = {"a": "code", "b": "summary", "c": "code"}
    write_records(stopped_server.candidates, [record(id, task_type=kind) for id, kind in kinds.items()])
    return stopped_server


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the refused calls, with `a` in review and `decided` approved; none changes it."""
    server = Server(tmp_path_factory.mktemp("refusing"))
    write_records(server.candidates, [record("a"), record("decided", status="approved", corrected_response="x")])
    yield server.start()
    server.kill()


def test_both_clients_have_a_method_for_every_rpc_with_the_same_arguments() -> None:
    named = {
        "Import": "import_run",
        "StreamExport": "export",
        "StreamIngest": "ingest_many",
        "BatchSubmit": "submit_many",
    }
    for method in pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods:
        name = named.get(method.name) or "".join(f"_{c.lower()}" if c.isupper() else c for c in method.name).strip("_")
        signatures = [inspect.signature(getattr(kind, name)) for kind in (CorrectionsClient, AsyncCorrectionsClient)]
        assert list(signatures[0].parameters) == list(signatures[1].parameters), name
        assert "timeout" in signatures[0].parameters, name
        assert getattr(CorrectionsClient, name).__doc__, name


def test_runs_are_listed_and_imported(client: Any, server: Server) -> None:
    make_run(server.runs, RUN, count=4, malformed=1)
    assert client.set_config(bench_results_dir=str(server.runs)).bench_results_dir == str(server.runs)
    assert client.get_config().bench_results_dir == str(server.runs)
    (run,) = client.list_runs(page_size=10).runs
    assert (run.run_id, run.candidate_count, run.malformed_count, run.already_imported) == (RUN, 4, 1, False)
    imported = client.import_run(RUN)
    assert (imported.imported, imported.skipped, imported.malformed) == (4, 0, 1)
    assert client.import_run(RUN).skipped == 4


def test_the_queue_is_paged_filtered_and_ordered(client: Any) -> None:
    first = client.queue(per_page=2)
    assert ([item.id for item in first.items], first.total) == (["a", "b"], 3)
    assert [item.id for item in client.queue(per_page=2, page_token=first.next_page_token).items] == ["c"]
    assert [item.id for item in client.queue(page=2, per_page=1).items] == ["b"]
    code = client.queue(filter=CandidateFilter(task_types=["code"], min_quality_score=0.0), order="quality_desc")
    assert [item.id for item in code.items] == ["c", "a"]


def test_a_candidate_is_corrected_discarded_flagged_and_undone(client: Any) -> None:
    corrected = client.submit(
        "a", action="correct", corrected_response="better", failure_category="wrong_answer", reviewer="kim"
    )
    assert (status_word(corrected), category_word(corrected)) == ("approved", "wrong_answer")
    assert corrected.corrected_response == "better"
    assert status_word(client.submit("b", action="discard")) == "discarded"
    assert status_word(client.submit("c", action="flag", failure_category="hallucination")) == "model_rejected"
    undone = client.undo("a", reviewer="kim", expected_revision=corrected.revision)
    assert (status_word(undone), category_word(undone)) == ("needs_review", None)
    assert undone == client.get_candidate("a")
    assert client.stats().by_status == {"needs_review": 1, "discarded": 1, "model_rejected": 1}
    assert client.stats(filter=CandidateFilter(task_types=["summary"])).total == 1


def test_a_write_repeated_with_its_request_id_stores_once(client: Any, server: Server) -> None:
    fields = {"source": "peregrine", "task_type": "code", "prompt": "1+1?", "correction": "2", "label": "x"}
    first = client.ingest(**fields, request_id="r-1")
    again = client.ingest(**fields, request_id="r-1")
    assert (first.created, again.created, again.id) == (True, False, first.id)
    assert client.ingest(**fields).created and client.ingest(**fields).created
    assert server.stats().export_ready == 3


def test_every_write_has_a_request_id_of_its_own() -> None:
    from avocet_client import calls

    makers: list[Any] = [
        lambda: calls.submit("a", action="flag"),
        lambda: calls.undo("a"),
        lambda: calls.ingest(source="s", task_type="t", prompt="p", correction="c"),
    ]
    ids = [make().request.request_id for make in makers for _ in range(2)]
    assert len(set(ids)) == 6 and all(len(id) == 36 for id in ids)


@pytest.mark.parametrize(
    ("call", "error", "code", "metadata"),
    [
        (lambda c: c.get_candidate("x"), avocet_client.CandidateNotFound, "NOT_FOUND", {"id": "x"}),
        (lambda c: c.import_run("x"), avocet_client.RunNotFound, "NOT_FOUND", {"run_id": "x"}),
        (lambda c: c.undo("a"), avocet_client.AlreadyInReview, "FAILED_PRECONDITION", {}),
        (
            lambda c: c.submit("decided", action="flag"),
            avocet_client.NotInReview,
            "FAILED_PRECONDITION",
            {"current_status": "approved"},
        ),
        (lambda c: c.submit("a", action="correct"), avocet_client.InvalidField, "INVALID_ARGUMENT", None),
        (lambda c: list(c.export(at_revision=1)), avocet_client.RevisionExpired, "OUT_OF_RANGE", {}),
        (lambda c: list(c.export(shard_index=4)), avocet_client.InvalidField, "INVALID_ARGUMENT", None),
        (
            lambda c: c.submit("a", action="flag", expected_revision=7),
            avocet_client.RevisionMismatch,
            "ABORTED",
            None,
        ),
    ],
)
def test_a_refusal_is_an_error_of_its_own_class(
    make_client: Make, refusing: Server, call: Any, error: Any, code: str, metadata: Any
) -> None:
    with pytest.raises(error) as caught:
        call(make_client(refusing.address, token=SECRET))
    failure = caught.value
    assert type(failure) is error
    assert (failure.code, failure.reason) == (grpc.StatusCode[code], error.reason)
    if metadata is not None:
        assert failure.metadata == metadata
    if error is avocet_client.InvalidField:
        assert [violation.field for violation in failure.field_violations] == [failure.metadata["field"]]


def test_the_token_goes_with_the_call(make_client: Make, server: Server) -> None:
    fields = {"source": "peregrine", "task_type": "code", "prompt": "1+1?", "correction": "2"}
    with pytest.raises(avocet_client.TokenMissing):
        make_client(server.address).ingest(**fields)
    with pytest.raises(avocet_client.TokenRefused) as caught:
        make_client(server.address, token="wrong").ingest(**fields, request_id="mine")
    assert caught.value.request_id == "mine"
    with pytest.raises(avocet_client.TokenRefused):
        list(make_client(server.address, token="wrong").ingest_many([Correction(**fields)]))


def test_ingestion_that_is_not_configured_is_a_reason_to_try_later(make_client: Make, stopped_server: Server) -> None:
    stopped_server.secret = None
    client = make_client(stopped_server.start().address, token=SECRET)
    with pytest.raises(avocet_client.IngestionNotConfigured) as caught:
        client.ingest(source="s", task_type="t", prompt="p", correction="c")
    assert isinstance(caught.value, avocet_client.TryLater)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_a_word_that_does_not_exist_is_refused_before_the_call(make_client: Make) -> None:
    client = make_client("127.0.0.1:1")
    with pytest.raises(ValueError, match="correct, discard, flag"):
        client.submit("a", action="corect")
    with pytest.raises(ValueError, match="scoring_artifact"):
        client.queue(filter=CandidateFilter(failure_categories=["no"]))  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"\['code'\]"):
        CandidateFilter(task_types="code")


def test_a_given_channel_is_used_and_not_closed(server: Server) -> None:
    with grpc.insecure_channel(server.address, channel_options()) as channel:
        with CorrectionsClient(channel) as client:
            assert client.stats().total == 3
            with pytest.raises(TypeError, match="of an address"):
                pickle.dumps(client)
        assert CorrectionsClient(channel).stats().total == 3
        with pytest.raises(TypeError, match="options already"):
            CorrectionsClient(channel, options=(("grpc.enable_retries", 0),))


def test_a_client_of_an_address_goes_to_another_process(server: Server) -> None:
    client = CorrectionsClient(server.address, token=SECRET)
    assert client.stats().total == 3
    with pickle.loads(pickle.dumps(client)) as copy:
        assert copy.ingest(source="s", task_type="t", prompt="p", correction="c").created
    assert client.stats().total == 4
    client.close()
    assert client.stats().total == 4
    client.close()
