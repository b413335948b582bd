"""The same question asked again: counted, found, on one side of a split, exported once; and what is not exported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from avocet_client import CorrectionsClient, ExportOptions
from avocet_client.datasets import iterable_dataset
from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Json, Server, failure_of, record, write_records

QUESTIONS = 12
NIGHTS = 3


def night(number: int, question: int) -> Json:
    """A question of one night: each night writes its prompts in another form."""
    text = f"What is {question} plus {question}?"
    forms: list[Any] = [
        text,
        [{"role": "user", "content": text}],
        {"conversations": [{"from": "human", "value": text}]},
    ]
    return record(f"n{number}-q{question}", prompt_messages=forms[number], task_id=f"task-{question}")


CONTENTS = [night(number, question) for number in range(NIGHTS) for question in range(QUESTIONS)]


def approved(content: Json) -> Json:
    return content | {"status": "approved", "corrected_response": f"It is {content['id']}."}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("prompts"))
    odd = [record("odd", prompt_messages=["x"]), record("none", prompt_messages=None)]
    write_records(server.candidates, [*CONTENTS, *odd])
    blank: list[Any] = [None, "", [], {}]
    unexportable = [record(f"u{n}", status="approved", corrected_response=c) for n, c in enumerate(blank)]
    write_records(server.approved, [approved(content) for content in [*CONTENTS, *odd]] + unexportable)
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def client(served: Server) -> Iterator[CorrectionsClient]:
    with CorrectionsClient(served.address) as client:
        yield client


def candidate(server: Server, id: str) -> pb.Candidate:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate


def export(server: Server, **fields: Any) -> list[str]:
    """The ids of one whole export, held to its summary."""
    ids: list[str] = []
    for response in server.stub.StreamExport(pb.StreamExportRequest(**fields)):
        ids += [example.id for example in response.examples]
        if response.HasField("summary"):
            assert response.summary.example_count == len(ids)
            assert response.summary.ids_sha256 == hashlib.sha256("".join(f"{id}\n" for id in ids).encode()).hexdigest()
            return ids
    raise AssertionError("the export has no summary")


def question(id: str) -> str:
    return id.partition("-")[2] or id


def test_the_same_prompt_in_any_form_is_counted(served: Server) -> None:
    assert candidate(served, "n0-q3").same_prompt == NIGHTS - 1
    assert candidate(served, "n0-q3").prompt_digest == candidate(served, "n2-q3").prompt_digest
    assert (candidate(served, "none").same_prompt, candidate(served, "odd").same_prompt) == (0, 0)
    page = served.stub.Queue(pb.QueueRequest(per_page=100))
    assert {item.same_prompt for item in page.items if item.id.startswith("n0")} == {NIGHTS - 1}


def test_the_same_prompt_is_counted_to_100_and_no_further(stopped_server: Server) -> None:
    times = (100, 101, 102, 120)
    asked = {count: [{"role": "user", "content": f"asked {count} times"}] for count in times}
    contents = [record(f"{count}-{n}", prompt_messages=asked[count]) for count in times for n in range(count)]
    write_records(stopped_server.candidates, contents)
    server = stopped_server.start()
    expected = {"100": 99, "101": 100, "102": 100, "120": 100}
    assert {name: candidate(server, f"{name}-7").same_prompt for name in expected} == expected
    listed = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500)).items
    assert {(one.id.partition("-")[0], one.same_prompt) for one in listed} == set(expected.items())


def test_candidates_and_examples_are_found_by_a_prompts_digest(served: Server) -> None:
    digests = [candidate(served, id).prompt_digest for id in ("n0-q3", "n0-q5")]
    filter = pb.CandidateFilter(prompt_digests=digests)
    page = served.stub.Queue(pb.QueueRequest(filter=filter))
    assert {question(item.id) for item in page.items} == {"q3", "q5"}
    assert (len(page.items), page.total) == (2 * NIGHTS, 2 * NIGHTS)
    assert {question(id) for id in export(served, filter=filter)} == {"q3", "q5"}
    stats = served.stub.Stats(pb.StatsRequest(filter=filter))
    assert (stats.total, stats.export_ready) == (2 * NIGHTS, 2 * NIGHTS)


@pytest.mark.parametrize("digest", ["", "x" * 64, "A" * 64, "0" * 63])
def test_what_is_no_digest_is_refused(served: Server, digest: str) -> None:
    filter = pb.CandidateFilter(prompt_digests=["0" * 64, digest])
    failure = failure_of(lambda: served.stub.Queue(pb.QueueRequest(filter=filter)))
    assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["filter.prompt_digests[1]"])


@pytest.mark.parametrize("by", [pb.SPLIT_BY_PROMPT, pb.SPLIT_BY_TASK])
def test_a_split_keeps_a_question_of_all_nights_on_one_side(served: Server, by: pb.SplitBy.ValueType) -> None:
    def side(name: pb.SplitName.ValueType, **more: Any) -> list[str]:
        return export(served, split=pb.Split(name=name, validation_fraction=0.4, **more))

    train, validation = (side(name, by=by) for name in (pb.SPLIT_NAME_TRAIN, pb.SPLIT_NAME_VALIDATION))
    assert sorted(train + validation) == sorted(export(served))
    assert validation and not {question(id) for id in train} & {question(id) for id in validation}
    by_id = [side(name) for name in (pb.SPLIT_NAME_TRAIN, pb.SPLIT_NAME_VALIDATION)]
    assert {question(id) for id in by_id[0]} & {question(id) for id in by_id[1]}
    assert by_id[0] == side(pb.SPLIT_NAME_TRAIN, by=pb.SPLIT_BY_ID)


def test_an_unknown_split_is_refused(served: Server) -> None:
    split = pb.Split(name=pb.SPLIT_NAME_TRAIN, by=9)  # type: ignore[arg-type]
    assert failure_of(lambda: export(served, split=split)).fields == ["split.by"]


def test_each_prompt_is_exported_once_and_shards_choose_among_those(served: Server) -> None:
    last = [f"n{NIGHTS - 1}-q{question}" for question in range(QUESTIONS)]
    assert export(served, unique_prompts=True) == [*last, "none"]
    parts = [export(served, unique_prompts=True, shard_index=i, shard_count=3) for i in range(3)]
    assert sorted(sum(parts, [])) == sorted([*last, "none"])
    (first, *_) = served.stub.StreamExport(pb.StreamExportRequest(unique_prompts=True, batch_size=5))
    assert first.total == QUESTIONS + 1
    assert export(served, unique_prompts=True, resume_token=first.resume_token) == [*last[5:], "none"]
    other = failure_of(lambda: export(served, resume_token=first.resume_token))
    assert other.fields == ["resume_token"]


def test_a_newer_correction_of_a_prompt_takes_the_place_of_the_older_one(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [night(0, 1), night(1, 1), night(0, 2)])
    server = stopped_server.start()
    for id in ("n0-q1", "n0-q2"):
        server.correct(id, "two")
    before = server.stats().revision
    server.correct("n1-q1", "two")
    assert export(server, unique_prompts=True) == ["n0-q2", "n1-q1"]
    assert export(server, unique_prompts=True, at_revision=before) == ["n0-q1", "n0-q2"]
    assert export(server, unique_prompts=True, since_revision=before) == ["n1-q1"]
    server.stub.Undo(pb.UndoRequest(id="n1-q1"))
    assert export(server, unique_prompts=True) == ["n0-q1", "n0-q2"]


def test_what_is_approved_and_not_exported_is_counted_by_its_reason(served: Server) -> None:
    assert dict(served.stats().unexportable) == {"prompt": 1, "correction_missing": 2, "correction_not_text": 2}
    of_a_task = pb.CandidateFilter(task_types=[record("u0")["task_type"]])
    filtered = served.stub.Stats(pb.StatsRequest(filter=of_a_task)).unexportable
    alike = [id for id in ("odd", "u0", "u1", "u2", "u3") if record(id)["task_type"] == record("u0")["task_type"]]
    assert 0 < sum(filtered.values()) == len(alike) < 5


def test_the_clients_export_takes_the_same_options(client: CorrectionsClient) -> None:
    unique = [example.id for example in client.export(unique_prompts=True)]
    assert len(unique) == QUESTIONS + 1
    options = ExportOptions(split_by="prompt", validation_fraction=0.4)
    train = {question(example.id) for example in client.export(split="train", **options)}
    validation = {question(example.id) for example in client.export(split="validation", **options)}
    assert train and validation and not train & validation
    options = ExportOptions(split="train", split_by="task", validation_fraction=0.4, unique_prompts=True)
    rows = list(iterable_dataset(client, num_shards=2, **options))
    assert 0 < len(rows) < QUESTIONS + 1
    with pytest.raises(ValueError, match="split_by must be one of"):
        client.export(split="train", split_by="question")  # type: ignore[arg-type]
