"""What type checkers accept. Nothing here is run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, assert_type

import avocet_client
from avocet_client import (
    AsyncCorrectionsClient,
    AsyncExport,
    CandidateFilter,
    Correction,
    CorrectionsClient,
    CorrectionsError,
    Decision,
    Export,
    ExportStateDict,
    FailureCategory,
    Health,
    HeldClaim,
    Hold,
    IngestResult,
    Status,
    Tls,
    category_word,
    status_word,
    testing,
    to_kto,
    to_preference,
    to_sft,
)
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc


def unary(client: CorrectionsClient) -> None:
    assert_type(client.list_runs(page_size=5), pb.ListRunsResponse)
    assert_type(client.import_run("2025"), pb.ImportResponse)
    assert_type(client.queue(filter=CandidateFilter(task_types=["code"]), order="quality_desc"), pb.QueueResponse)
    candidate = client.get_candidate("a", timeout=1.5)
    assert_type(candidate, pb.Candidate)
    assert_type(status_word(candidate), Status | None)
    assert_type(category_word(candidate), FailureCategory | None)
    decided = client.submit(
        candidate.id, action="correct", corrected_response="b", failure_category=category_word(candidate)
    )
    assert_type(decided, pb.Candidate)
    assert_type(client.undo("a", expected_revision=decided.revision), pb.Candidate)
    assert_type(client.stats().by_status["approved"], int)
    assert_type(client.set_config(bench_results_dir="/srv"), pb.Config)
    stored = client.ingest(source="s", task_type="t", prompt="p", correction="c", label=None)
    assert_type(stored, pb.IngestResponse)


async def unary_async(client: AsyncCorrectionsClient) -> None:
    assert_type(await client.get_candidate("a"), pb.Candidate)
    assert_type(await client.submit("a", action="flag"), pb.Candidate)
    assert_type(await client.stats(), pb.StatsResponse)


def streams(client: CorrectionsClient) -> None:
    export = client.export(split="train", validation_fraction=0.2)
    assert_type(export, Export)
    for example in export:
        assert_type(example, pb.TrainingExample)
        assert_type(to_kto(example)[0], dict[str, Any])
        assert_type(to_preference(example), dict[str, Any] | None)
    assert_type(export.state_dict(), ExportStateDict)
    assert_type(export.total, int | None)
    assert_type(export.write_jsonl("a.jsonl", render=to_sft), int)
    results = client.ingest_many([Correction(source="s", task_type="t", prompt="p", correction="c")])
    assert_type(results, Iterator[IngestResult])


def team(client: CorrectionsClient) -> None:
    with client.hold(reviewer="kim", limit=5) as held:
        assert_type(held, Hold)
        for claim in held:
            assert_type(claim, HeldClaim)
            assert_type(claim.submit(action="flag"), pb.Candidate)
        assert_type(held[0].lost, bool)
    for change in client.history(id="a"):
        assert_type(change, pb.Change)
    for page in client.in_review(claims="unclaimed").pages():
        assert_type(page, pb.QueueResponse)
    assert_type(client.submit_many([Decision(id="a", action="flag")])[0].status, Status | None)
    assert_type(client.upload_run("run").imported, int)
    assert_type(client.health(), Health)
    assert_type(next(client.watch()), pb.Change)
    assert_type(testing.client(), CorrectionsClient)


async def team_async(client: AsyncCorrectionsClient) -> None:
    async with client.hold(reviewer="kim") as held:
        for claim in held:
            assert_type(await claim.submit(action="flag"), pb.Candidate)
    async for snapshot in client.snapshots():
        assert_type(snapshot.name, str)
    assert_type(testing.async_client(), AsyncCorrectionsClient)


async def streams_async(client: AsyncCorrectionsClient) -> None:
    export = client.export()
    assert_type(export, AsyncExport)
    async for example in export:
        assert_type(example.id, str)

    async def corrections() -> AsyncIterator[Correction]:
        yield Correction(source="s", task_type="t", prompt="p", correction="c")

    async for result in client.ingest_many(corrections()):
        assert_type(result.error, CorrectionsError | None)


def connections() -> None:
    with CorrectionsClient("host:1", token="t", tls=Tls.from_files(roots="ca.pem")) as client:
        stub = corrections_pb2_grpc.CorrectionsServiceStub(client.channel())
        assert_type(stub.Stats(pb.StatsRequest()).total, int)
    try:
        client.stats()
    except avocet_client.RevisionMismatch as error:
        assert_type(error.metadata["current_revision"], str)
