"""UploadRun imports what its caller sends, as Import does with a run on the server's disk."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record


def messages(data: bytes, cuts: Iterable[int], **first: Any) -> Iterator[pb.UploadRunRequest]:
    places = [0, *sorted(cuts), len(data)]
    yield pb.UploadRunRequest(run_id="sent", **first)
    for begin, end in itertools.pairwise(places):
        yield pb.UploadRunRequest(lines=data[begin:end])


def upload(server: Server, data: bytes, cuts: Iterable[int] = (), **first: Any) -> pb.UploadRunResponse:
    return server.stub.UploadRun(messages(data, cuts, **first))


def run_of(count: int, **changes: Any) -> bytes:
    return "".join(json.dumps(record(f"s{n}", **changes)) + "\n" for n in range(count)).encode()


def test_a_run_is_imported_wherever_its_bytes_are_cut(server: Server) -> None:
    data = b"\n" + run_of(40, model_response="\u00e9\u4e2d") + b'{"id": "torn\n' + json.dumps(record("last")).encode()
    chance = random.Random(1)
    answer = upload(server, data, [chance.randrange(len(data)) for _ in range(50)])
    assert (answer.imported, answer.malformed, answer.skipped) == (41, 1, 0)
    assert answer.by_status == {"needs_review": 41}
    assert [(problem.line, problem.id) for problem in answer.problems] == [(42, "")]
    again = upload(server, data)
    assert (again.imported, again.malformed, again.skipped) == (0, 1, 41)
    assert server.stats().total == 41


@pytest.mark.parametrize("cut", [0, 1, 3, 10])
def test_a_byte_order_mark_at_the_start_is_no_part_of_the_first_line(server: Server, cut: int) -> None:
    answer = upload(server, b"\xef\xbb\xbf" + run_of(2), [cut])
    assert (answer.imported, answer.malformed) == (2, 0)
    found = server.stub.GetCandidate(pb.GetCandidateRequest(id="s0", include_record=True))
    assert found.candidate.record_json.startswith("{")
    # Elsewhere it is what it is: no JSON.
    assert upload(server, run_of(1) + b"\xef\xbb\xbf" + run_of(1)).malformed == 1


def test_conflicts_are_treated_as_in_an_import(server: Server) -> None:
    upload(server, run_of(2))
    other = run_of(2, model_response="other")
    skipped = upload(server, other)
    assert (skipped.conflicts, [problem.id for problem in skipped.problems]) == (2, ["s0", "s1"])
    qualified = upload(server, other, on_conflict=pb.ON_CONFLICT_QUALIFY)
    assert qualified.qualified == 2
    assert server.stub.GetCandidate(pb.GetCandidateRequest(id="sent/s0")).candidate.model_response == "other"


def test_a_large_run_is_stored_in_steps_while_it_arrives_and_sending_it_again_completes_it(server: Server) -> None:
    data = run_of(3_000)
    before = server.stats().revision

    def broken() -> Iterator[pb.UploadRunRequest]:
        yield pb.UploadRunRequest(run_id="sent", lines=data[: len(data) // 2])
        yield pb.UploadRunRequest(run_id="sent")

    assert failure_of(lambda: server.stub.UploadRun(broken())).fields == ["run_id"]
    stored = server.stats().total
    assert 0 < stored <= 1_500
    answer = upload(server, data, range(500_000, len(data), 500_000))
    assert (answer.imported, answer.skipped) == (3_000 - stored, stored)
    assert server.stats().revision >= before + 3


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ([], "run_id"),
        ([pb.UploadRunRequest(lines=b"{}")], "run_id"),
        ([pb.UploadRunRequest(run_id="../x")], "run_id"),
        ([pb.UploadRunRequest(run_id="x"), pb.UploadRunRequest(run_id="x")], "run_id"),
        ([pb.UploadRunRequest(run_id="x"), pb.UploadRunRequest(on_conflict=pb.ON_CONFLICT_SKIP)], "on_conflict"),
        ([pb.UploadRunRequest(run_id="x", lines=b" " * ((3 << 20) + 1))], "lines"),
    ],
)
def test_what_no_upload_can_be_is_refused_by_its_field(quiet_server: Server, sent: Any, field: str) -> None:
    failure = failure_of(lambda: quiet_server.stub.UploadRun(iter(sent)))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]
