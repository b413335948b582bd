"""What a real server cannot be made to do on cue: a break after the third batch, a wrong summary, a lost answer."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import grpc_testing
import pytest

from avocet_client import CorrectionsClient, Export, ExportCorrupted, TransportError
from avocet_client.v1 import corrections_pb2 as pb
from tests.support import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["CorrectionsService"]
EXPORT = SERVICE.methods_by_name["StreamExport"]
REVISION = 1_700_000_000_000


class Script:
    """Plays the server of one client, call by call, while the client runs in a thread."""

    def __init__(self) -> None:
        self.channel = grpc_testing.channel([SERVICE], grpc_testing.strict_real_time())
        self.client = CorrectionsClient(self.channel)

    def run(self, work: Callable[[], Any]) -> futures.Future[Any]:
        """Begin `work` in a thread, which a failing test need not wait for."""
        future: futures.Future[Any] = futures.Future()

        def carry_out() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=carry_out, daemon=True).start()
        return future

    def call(self) -> tuple[pb.StreamExportRequest, Any]:
        """The client's next StreamExport call: its request, and the server's end of it."""
        _, request, rpc = self.channel.take_unary_stream(EXPORT)
        rpc.send_initial_metadata(())
        return request, rpc


@pytest.fixture
def script() -> Script:
    return Script()


def batch(ids: str, **fields: Any) -> pb.StreamExportResponse:
    """A batch with an example a letter; its token says where it ends."""
    return pb.StreamExportResponse(
        examples=[pb.TrainingExample(id=id) for id in ids],
        resume_token=f"after {ids[-1:]}",
        revision=REVISION,
        **fields,
    )


def last(ids: str, **changes: Any) -> pb.StreamExportResponse:
    """The summary of a call that sent these."""
    digest = hashlib.sha256("".join(f"{id}\n" for id in ids).encode()).hexdigest()
    stated: dict[str, Any] = {"example_count": len(ids), "ids_sha256": digest} | changes
    summary = pb.ExportSummary(**stated)
    return pb.StreamExportResponse(resume_token="the end", revision=REVISION, summary=summary)


def deliver(export: Export, rpc: Any, *responses: pb.StreamExportResponse) -> None:
    """Send the responses and wait until the client has taken them: an error overtakes what waits."""
    for response in responses:
        expected = export.consumed + len(response.examples)
        rpc.send_response(response)
        eventually(lambda expected=expected: export.consumed >= expected)


def end(rpc: Any, code: grpc.StatusCode = grpc.StatusCode.OK) -> None:
    rpc.terminate((), code, "as the script says")


def test_a_break_after_the_third_batch_is_continued_behind_it(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    export = script.client.export()
    ids = script.run(lambda: [example.id for example in export])
    request, rpc = script.call()
    assert request == pb.StreamExportRequest(shard_count=1)
    deliver(export, rpc, batch("ab", total=7), batch("cd"), batch("ef"))
    end(rpc, grpc.StatusCode.UNAVAILABLE)
    request, rpc = script.call()
    assert request == pb.StreamExportRequest(shard_count=1, at_revision=REVISION, resume_token="after f")
    rpc.send_response(batch("g", total=1))
    rpc.send_response(last("g"))
    end(rpc)
    assert ids.result(10) == list("abcdefg")
    assert (export.total, export.consumed, export.revision) == (7, 7, REVISION)
    (told,) = (each for each in caplog.records if each.name == "avocet_client")
    assert "as the script says [UNAVAILABLE]" in told.getMessage()


def test_a_break_before_the_first_batch_begins_at_no_revision(script: Script) -> None:
    ids = script.run(lambda: [example.id for example in script.client.export()])
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
        request, rpc = script.call()
        assert (request.at_revision, request.resume_token) == (0, "")
        end(rpc, code)
    _, rpc = script.call()
    rpc.send_response(batch("", total=0))
    rpc.send_response(last(""))
    end(rpc)
    assert ids.result(10) == []


def test_a_stream_that_ends_without_its_summary_is_continued(script: Script) -> None:
    export = script.client.export()
    ids = script.run(lambda: [example.id for example in export])
    _, rpc = script.call()
    deliver(export, rpc, batch("ab", total=3))
    end(rpc)
    request, rpc = script.call()
    assert request.resume_token == "after b"
    rpc.send_response(batch("c", total=1))
    rpc.send_response(last("c"))
    end(rpc)
    assert ids.result(10) == list("abc")


@pytest.mark.parametrize(
    "closing",
    [
        last("abcd", ids_sha256=hashlib.sha256(b"a\nb\nd\nc\n").hexdigest()),
        last("abcd", example_count=5),
        last("abc"),
    ],
)
def test_a_summary_that_contradicts_what_arrived_is_an_error(script: Script, closing: pb.StreamExportResponse) -> None:
    export = script.client.export()
    work = script.run(lambda: list(export))
    _, rpc = script.call()
    rpc.send_response(batch("ab", total=4))
    rpc.send_response(batch("cd"))
    rpc.send_response(closing)
    with pytest.raises(ExportCorrupted):
        work.result(10)
    with pytest.raises(ExportCorrupted):
        script.run(lambda: list(export)).result(10)  # who iterates on does not take it for complete


def test_a_total_or_revision_that_changes_over_a_break_is_an_error(script: Script) -> None:
    for changed in (batch("cd", total=3), pb.StreamExportResponse(revision=REVISION + 1, total=2)):
        export = script.client.export()
        work = script.run(lambda export=export: list(export))
        _, rpc = script.call()
        deliver(export, rpc, batch("ab", total=4))
        end(rpc, grpc.StatusCode.UNAVAILABLE)
        _, rpc = script.call()
        rpc.send_response(changed)
        with pytest.raises(ExportCorrupted):
            work.result(10)


def test_an_outage_that_lasts_too_long_raises_its_error(script: Script) -> None:
    work = script.run(lambda: list(script.client.export(retry_for=0.5)))
    calls = 0

    def refuse() -> None:
        nonlocal calls
        while True:
            _, rpc = script.call()
            calls += 1
            end(rpc, grpc.StatusCode.UNAVAILABLE)

    script.run(refuse)
    with pytest.raises(TransportError):
        work.result(10)
    assert calls >= 2


@pytest.mark.parametrize("code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_an_error_that_another_try_cannot_mend_is_raised_at_once(script: Script, code: grpc.StatusCode) -> None:
    work = script.run(lambda: list(script.client.export()))
    _, rpc = script.call()
    end(rpc, code)
    with pytest.raises(TransportError) as caught:
        work.result(10)
    assert caught.value.code is code


def test_a_state_from_the_middle_of_a_batch_skips_what_was_handed_out(script: Script) -> None:
    export = script.client.export()
    work = script.run(lambda: [next(export).id for _ in range(4)])
    _, rpc = script.call()
    rpc.send_response(batch("ab", total=8))
    rpc.send_response(batch("cdef"))
    assert work.result(10) == list("abcd")
    state = json.loads(json.dumps(export.state_dict()))
    assert (state["resume_token"], state["skip"], state["consumed"]) == ("after b", 2, 4)

    resumed = script.client.export()
    resumed.load_state_dict(state)
    rest = script.run(lambda: [example.id for example in resumed])
    request, rpc = script.call()
    assert (request.resume_token, request.at_revision) == ("after b", REVISION)
    rpc.send_response(batch("cde", total=6))  # the batches need not be cut as they were
    eventually(lambda: resumed.consumed == 5)
    end(rpc, grpc.StatusCode.UNAVAILABLE)
    request, rpc = script.call()
    assert request.resume_token == "after e"
    rpc.send_response(batch("fg", total=3))
    rpc.send_response(batch("h"))
    rpc.send_response(last("fgh"))
    end(rpc)
    assert rest.result(10) == list("efgh")
    assert (resumed.total, resumed.consumed) == (8, 8)


def test_an_answer_lost_after_the_store_names_the_request_id_to_repeat_it_with(script: Script) -> None:
    submit = SERVICE.methods_by_name["Submit"]
    work = script.run(lambda: script.client.submit("a", action="flag"))
    _, request, rpc = script.channel.take_unary_unary(submit)
    rpc.send_initial_metadata(())
    rpc.terminate(None, (), grpc.StatusCode.UNAVAILABLE, "the connection broke")
    with pytest.raises(TransportError) as caught:
        work.result(10)
    assert caught.value.request_id == request.request_id != ""
    again = script.run(lambda: script.client.submit("a", action="flag", request_id=caught.value.request_id))
    _, repeated, rpc = script.channel.take_unary_unary(submit)
    rpc.send_initial_metadata(())
    rpc.terminate(pb.SubmitResponse(candidate=pb.Candidate(id="a")), (), grpc.StatusCode.OK, "")
    assert (again.result(10).id, repeated) == ("a", request)
