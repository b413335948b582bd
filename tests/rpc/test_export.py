"""The stream of approved examples."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record, write_records

pytestmark = pytest.mark.both_engines

COUNT = 60
IDS = [f"e{n:02d}" for n in range(COUNT)]


@dataclass
class Export:
    """One whole call: its ids in order, and what came with them."""

    ids: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    revision: int = 0
    total: int = 0
    summary: pb.ExportSummary | None = None


def export(server: Server, **fields) -> Export:
    """Run one export to its end, and check what every export promises."""
    result = Export()
    for number, response in enumerate(server.stub.StreamExport(pb.StreamExportRequest(**fields))):
        assert result.summary is None, "nothing follows the summary"
        if number == 0:
            result.revision, result.total = response.revision, response.total
        assert response.revision == result.revision
        if response.examples:
            result.batches.append(len(response.examples))
            result.tokens.append(response.resume_token)
        result.ids += [example.id for example in response.examples]
        if response.HasField("summary"):
            result.summary = response.summary
    assert result.summary is not None
    digest = hashlib.sha256("".join(f"{id}\n" for id in result.ids).encode()).hexdigest()
    assert (result.summary.example_count, result.summary.ids_sha256) == (len(result.ids), digest)
    assert result.total == len(result.ids)
    return result


@pytest.fixture
def sixty(stopped_server: Server) -> Server:
    """A running server with 60 approved records and one in review."""
    contents = [
        record(id, status="approved", corrected_response=f"better {id}", task_type="code" if n % 2 else "summary")
        for n, id in enumerate(IDS)
    ]
    write_records(stopped_server.candidates, [*contents, record("waits")])
    write_records(stopped_server.approved, contents)
    return stopped_server.start()


@pytest.mark.parametrize("batch_size", [0, 1_000])
def test_a_response_ends_at_some_500_kb_whatever_the_batch_size(stopped_server: Server, batch_size: int) -> None:
    approved = [
        record(f"r{n}", status="approved", corrected_response="x" * 2_000, model_response="y" * 2_000)
        for n in range(600)
    ]
    write_records(stopped_server.approved, approved)
    server = stopped_server.start()
    responses = list(server.stub.StreamExport(pb.StreamExportRequest(batch_size=batch_size)))
    assert sum(len(response.examples) for response in responses) == 600
    # The first ones go by a guess of an example's size, and the last one has what is left.
    sizes = [response.ByteSize() for response in responses[1:-2]]
    assert sizes and 440_000 < min(sizes) <= max(sizes) < 501_000


def test_the_order_is_that_of_approval_and_each_example_is_whole(sixty: Server) -> None:
    assert export(sixty).ids == IDS
    sixty.correct("waits", "Scattering.", failure_category=pb.FAILURE_CATEGORY_PARTIAL_ANSWER)
    assert export(sixty).ids == [*IDS, "waits"]
    sent = [e for r in sixty.stub.StreamExport(pb.StreamExportRequest()) for e in r.examples]
    example = sent[-1]
    source = record("waits")
    assert [(m.role, m.content) for m in example.messages] == [
        *((m["role"], m["content"]) for m in source["prompt_messages"]),
        ("assistant", "Scattering."),
    ]
    assert example.rejected == source["model_response"]
    meta = example.metadata
    assert (meta.source, meta.task_type, meta.model_name) == ("benchmark", source["task_type"], "Heron 7B")
    assert meta.benchmark_run_id == source["benchmark_run_id"]
    assert meta.failure_category == pb.FAILURE_CATEGORY_PARTIAL_ANSWER
    assert meta.quality_score == source["quality_score"]
    assert not meta.HasField("label")
    assert meta.approved_revision == sixty.stub.GetCandidate(pb.GetCandidateRequest(id="waits")).candidate.revision


def test_what_is_decided_meanwhile_neither_adds_nor_drops_nor_repeats_an_example(sixty: Server) -> None:
    stream = sixty.stub.StreamExport(pb.StreamExportRequest(batch_size=5))
    first = next(stream)
    sixty.correct("waits")
    sixty.stub.Undo(pb.UndoRequest(id="e40"))
    sixty.stub.Undo(pb.UndoRequest(id="e01"))
    rest = [example.id for response in stream for example in response.examples]
    assert [example.id for example in first.examples] + rest == IDS
    assert export(sixty, at_revision=first.revision).ids == IDS
    now = export(sixty)
    assert now.ids == [*(id for id in IDS if id not in ("e01", "e40")), "waits"]


def test_a_resume_token_continues_after_its_batch_also_after_a_restart(sixty: Server) -> None:
    whole = export(sixty, batch_size=7)
    assert whole.batches == [7] * 8 + [4]
    sixty.stub.Undo(pb.UndoRequest(id="e50"))
    sixty.correct("waits")
    for number in (0, 3, 8):
        resumed = export(sixty, resume_token=whole.tokens[number], batch_size=11)
        assert (resumed.ids, resumed.revision) == (IDS[7 * (number + 1) :], whole.revision)
    assert sixty.stop() == 0
    sixty.start()
    resumed = export(sixty, resume_token=whole.tokens[3])
    assert (resumed.ids, resumed.revision) == (IDS[28:], whole.revision)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_together_complete(sixty: Server, count: int) -> None:
    shards = [export(sixty, shard_index=index, shard_count=count).ids for index in range(count)]
    assert sorted(id for shard in shards for id in shard) == IDS
    assert all(shards)


def test_a_new_example_moves_no_old_one_to_another_shard_or_split(sixty: Server) -> None:
    def parts() -> list[list[str]]:
        split = pb.Split(name=pb.SPLIT_NAME_VALIDATION, validation_fraction=0.3)
        shards = [export(sixty, shard_index=index, shard_count=3).ids for index in range(3)]
        return [*shards, export(sixty, split=split).ids]

    before = parts()
    sixty.correct("waits")
    assert [[id for id in part if id != "waits"] for part in parts()] == before


def test_a_split_holds_out_a_stable_share(sixty: Server) -> None:
    def side(name: pb.SplitName.ValueType, fraction: float, seed: int = 0) -> list[str]:
        return export(sixty, split=pb.Split(name=name, validation_fraction=fraction, seed=seed)).ids

    train, held_out = side(pb.SPLIT_NAME_TRAIN, 0.3), side(pb.SPLIT_NAME_VALIDATION, 0.3)
    assert sorted(train + held_out) == IDS
    assert 6 <= len(held_out) <= 32
    assert side(pb.SPLIT_NAME_VALIDATION, 0.3, seed=1) != held_out
    assert set(held_out) <= set(side(pb.SPLIT_NAME_VALIDATION, 0.6))
    assert side(pb.SPLIT_NAME_VALIDATION, 0) == []
    assert side(pb.SPLIT_NAME_TRAIN, 1) == []


def test_since_revision_sends_only_what_was_approved_after_it(sixty: Server) -> None:
    before = export(sixty).revision
    assert export(sixty, since_revision=before).ids == []
    sixty.correct("waits")
    sixty.stub.Undo(pb.UndoRequest(id="e03"))
    sixty.correct("e03", "again")
    assert export(sixty, since_revision=before).ids == ["waits", "e03"]


def test_a_filter_and_a_batch_size_hold_for_the_whole_stream(sixty: Server) -> None:
    code = export(sixty, filter=pb.CandidateFilter(task_types=["code"]), batch_size=1)
    assert code.ids == IDS[1::2]
    assert set(code.batches) == {1}
    assert export(sixty, batch_size=1_000).batches == [COUNT]
    nothing = export(sixty, filter=pb.CandidateFilter(sources=["nobody"]))
    assert nothing.ids == []


def test_only_approved_records_with_a_correction_are_sent_and_the_last_line_of_an_id_wins(
    stopped_server: Server,
) -> None:
    approved = [
        record("a", status="approved", corrected_response="first"),
        record("blank", status="approved", corrected_response=" \n"),
        record("pending", status="pending", corrected_response="x"),
        record("alone", status="approved", corrected_response="no candidate"),
        record("a", status="approved", corrected_response="last"),
    ]
    write_records(stopped_server.approved, approved)
    server = stopped_server.start()
    sent = [e for r in server.stub.StreamExport(pb.StreamExportRequest()) for e in r.examples]
    assert [(e.id, e.messages[-1].content) for e in sent] == [("alone", "no candidate"), ("a", "last")]
    assert server.stats().export_ready == 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"shard_index": 3, "shard_count": 3}, "shard_index"),
        ({"shard_index": -1, "shard_count": 3}, "shard_index"),
        ({"shard_index": 1}, "shard_index"),
        ({"shard_count": -1}, "shard_count"),
        ({"batch_size": -1}, "batch_size"),
        ({"batch_size": 1_001}, "batch_size"),
        ({"at_revision": 2**60}, "at_revision"),
        ({"at_revision": -1}, "at_revision"),
        ({"since_revision": -1}, "since_revision"),
        ({"since_revision": 2**60}, "since_revision"),
        ({"split": pb.Split(validation_fraction=0.5)}, "split.name"),
        ({"split": pb.Split(name=cast(Any, 9), validation_fraction=0.5)}, "split.name"),
        ({"split": pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=1.5)}, "split.validation_fraction"),
        ({"split": pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=float("nan"))}, "split.validation_fraction"),
        ({"resume_token": "nonsense"}, "resume_token"),
        ({"filter": pb.CandidateFilter(failure_categories=cast(Any, [99]))}, "filter.failure_categories"),
    ],
)
def test_a_wrong_export_request_names_its_field(quiet_server: Server, fields, field: str) -> None:
    failure = failure_of(lambda: list(quiet_server.stub.StreamExport(pb.StreamExportRequest(**fields))))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert [name.split("[")[0] for name in failure.fields] == [field]


def test_a_resume_token_of_another_request_or_cut_short_is_refused(sixty: Server) -> None:
    token, newest = export(sixty, batch_size=10).tokens[0], sixty.stats().revision
    for fields in (
        {"filter": pb.CandidateFilter(task_types=["code"])},
        {"shard_count": 2},
        {"split": pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.5)},
        {"since_revision": newest},
    ):
        failure = failure_of(
            lambda f=fields: list(sixty.stub.StreamExport(pb.StreamExportRequest(resume_token=token, **f)))
        )
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["resume_token"])
    for damaged in (token[:-4], token[:-1], token[4:], "A" + token[1:]):
        if damaged == token:
            continue
        failure = failure_of(lambda d=damaged: list(sixty.stub.StreamExport(pb.StreamExportRequest(resume_token=d))))
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["resume_token"])


@pytest.mark.parametrize("request_", [pb.StreamExportRequest(at_revision=1), pb.StreamExportRequest(since_revision=1)])
def test_a_revision_older_than_the_ledger_is_no_longer_kept(sixty: Server, request_: Any) -> None:
    failure = failure_of(lambda: list(sixty.stub.StreamExport(request_)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_EXPIRED")
