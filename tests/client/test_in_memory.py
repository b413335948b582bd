"""One suite on the real server and on the in-memory service, with both clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import avocet_client
from avocet_client import CandidateFilter, Correction, CorrectionsClient, Decision, status_word
from avocet_client.testing import Service
from avocet_client.testing.aio_channel import AsyncChannel
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.drivers import Blocking
from tests.support import SECRET, Json, Server, record, write_records

Start = Callable[..., Any]
FIELDS: dict[str, Any] = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "correction": "2"}
RUN = "2025-03-02-120000"


@pytest.fixture(params=["server", "memory"])
def start(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> Iterator[Start]:
    """Starts a service with these candidates and runs, and returns a client of it."""
    server = Server(tmp_path)
    made: list[Any] = []

    def memory(candidates: list[Json], runs: dict[str, list[Any]]) -> Any:
        service = Service(candidates, secret=SECRET)
        for run_id, lines in runs.items():
            service.add_run(run_id, lines)
        return service.client() if kind == "sync" else Blocking(AsyncChannel(service), token=SECRET)

    def real(candidates: list[Json], runs: dict[str, list[Any]]) -> Any:
        write_records(server.candidates, candidates)
        for run_id, lines in runs.items():
            (server.runs / run_id).mkdir()
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            (server.runs / run_id / "sft_candidates.jsonl").write_text("".join(f"{text}\n" for text in texts))
        server.start().set_runs_directory()
        return (CorrectionsClient if kind == "sync" else Blocking)(server.address, token=SECRET)

    def begin(*candidates: Json, **runs: list[Any]) -> Any:
        made.append((memory if request.param == "memory" else real)(list(candidates), runs))
        return made[-1]

    yield begin
    for client in made:
        client.close()
    server.kill()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ids(items: Any) -> list[str]:
    return [item.id for item in items]


def test_the_queue_is_filtered_ordered_and_paged(start: Start) -> None:
    a, b = record("a", task_type="code", quality_score=0.5), record("b", task_type="sum", quality_score=0.9)
    c, d = record("c", task_type="code", quality_score=None), record("d", task_type="code", quality_score=0.5)
    client = start(a, b, c, d, record("e", status="discarded"), record("f", status="pending"))
    assert ids(client.queue().items) == ["a", "b", "c", "d"]
    assert ids(client.queue(order="quality").items) == ["a", "d", "b", "c"]
    assert ids(client.queue(order="quality_desc").items) == ["b", "d", "a", "c"]
    assert ids(client.in_review(order="quality_desc", page_size=1)) == ["b", "d", "a", "c"]
    code = CandidateFilter(task_types=["code"], min_quality_score=0.1)
    assert ids(client.in_review(filter=code, page_size=1)) == ["a", "d"]
    page = client.queue(page=2, per_page=3)
    assert (ids(page.items), page.total, page.page, page.per_page, page.next_page_token) == (["d"], 4, 2, 3, "")
    token = client.queue(per_page=1).next_page_token
    client.submit("b", action="flag")
    assert ids(client.queue(per_page=1, page_token=token).items) == ["c"]
    with pytest.raises(avocet_client.InvalidField) as caught:
        client.queue(page_token=token, order="quality")
    assert [violation.field for violation in caught.value.field_violations] == ["page_token"]


def test_a_candidate_is_served_with_all_that_its_record_has(start: Start) -> None:
    odd = {
        "id": "odd",
        "status": "pending",
        "prompt_messages": [{"role": "user", "content": None, "tool_calls": [{"id": "x"}], "name": "n"}],
        "model_response": [{"type": "text", "text": "a"}],
        "gpu_id": "x",
        "quality_score": 1,
        "label": None,
        "elapsed_ms": 5,
        "tools": [{"name": "t"}],
    }
    client = start(record("a"), record("b", prompt_messages=record("a")["prompt_messages"]), odd, {"id": "bare"})
    a = client.get_candidate("a", include_record=True)
    assert json.loads(a.record_json) == record("a")
    assert (a.same_prompt, a.task_name, a.gpu_id, a.tokens_per_sec) == (1, "Blue sky", 0, 41.5)
    assert ids(client.candidates(filter=CandidateFilter(prompt_digests=[a.prompt_digest]))) == ["a", "b"]
    served = client.get_candidate("odd")
    extra = {"status": "pending", "gpu_id": "x", "elapsed_ms": 5}
    assert (json.loads(served.extra_json), status_word(served), served.quality_score) == (extra, None, 1.0)
    assert json.loads(served.tools_json) == [{"name": "t"}]
    assert json.loads(served.model_response_json) == odd["model_response"]
    (message,) = served.prompt_messages
    assert json.loads(message.extra_json) == {"tool_calls": [{"id": "x"}], "name": "n"}
    assert (client.get_candidate("bare").extra_json, client.get_candidate("bare").same_prompt) == ("", 0)


def test_each_action_writes_what_the_service_writes(start: Start) -> None:
    client = start(*(record(id, failure_category=None) for id in "abc"))
    begin = client.stats().revision
    corrected = client.submit(
        "a", action="correct", corrected_response="better", failure_category="wrong_answer", reviewer="kim"
    )
    assert (status_word(corrected), corrected.corrected_response, corrected.reviewed_by) == (
        "approved",
        "better",
        "kim",
    )
    assert corrected.failure_category == pb.FAILURE_CATEGORY_WRONG_ANSWER and corrected.reviewed_at
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    called = client.submit("b", action="correct", corrected_message={"content": None, "tool_calls": calls})
    assert json.loads(called.corrected_response) == calls
    assert json.loads(called.corrected_message.extra_json) == {"tool_calls": calls}
    assert status_word(client.submit("c", action="flag", corrected_response="ignored")) == "model_rejected"
    assert [each.status_after for each in client.history(since_revision=begin, oldest_first=True)] == [
        "approved",
        "approved",
        "model_rejected",
    ]
    stats = client.stats()
    assert (stats.by_status, stats.export_ready) == ({"approved": 2, "model_rejected": 1}, 2)
    assert stats.by_failure_category == {"wrong_answer": 1}
    assert (stats.by_source, stats.by_model) == ({"benchmark": 3}, {"Heron 7B": 3})


def test_an_undone_candidate_is_as_it_was(start: Start) -> None:
    decided = record("d", status="approved", corrected_response="x", failure_category="wrong_answer")
    client = start(record("a", failure_category="hallucination", corrected_response="draft"), decided)
    before = client.get_candidate("a", include_record=True)
    client.submit("a", action="correct", corrected_response="better", failure_category="wrong_answer")
    undone = client.undo("a", reviewer="kim")
    assert undone.revision > before.revision and undone.corrected_response == "draft"
    assert client.get_candidate("a", include_record=True).record_json == before.record_json
    other = client.undo("d")
    assert (status_word(other), other.HasField("corrected_response"), other.failure_category) == (
        "needs_review",
        False,
        0,
    )
    assert client.stats().export_ready == 0
    with pytest.raises(avocet_client.AlreadyInReview):
        client.undo("a")


def test_a_repeated_write_gets_its_first_answer(start: Start) -> None:
    client = start(record("a"), record("b"))
    first = client.submit("a", action="flag", request_id="r-1")
    assert client.submit("a", action="flag", request_id="r-1") == first
    with pytest.raises(avocet_client.InvalidField) as caught:
        client.submit("b", action="flag", request_id="r-1")
    assert [violation.field for violation in caught.value.field_violations] == ["request_id"]
    undone = client.undo("a", request_id="r-2")
    assert client.undo("a", request_id="r-2").revision == undone.revision
    stored = client.ingest(**FIELDS, request_id="r-3")
    again = client.ingest(**FIELDS, request_id="r-3")
    assert (stored.created, again.created, again.id) == (True, False, stored.id)
    with pytest.raises(avocet_client.InvalidField):
        client.ingest(**FIELDS | {"prompt": "?"}, request_id="r-3")
    assert client.create_snapshot("s", request_id="r-4") == client.create_snapshot("s", request_id="r-4")
    (claim,) = client.claim(reviewer="kim", request_id="r-5")
    assert [one.lease_id for one in client.claim(reviewer="kim", request_id="r-5")] == [claim.lease_id]
    client.release_claims([claim.lease_id])
    assert client.claim(reviewer="kim", request_id="r-5") == []


def test_ingested_corrections_are_approved_and_exported(start: Start) -> None:
    client = start()
    stored = client.ingest(**FIELDS, response="3", label="bad")
    results = list(
        client.ingest_many([Correction(**FIELDS), Correction(**FIELDS | {"prompt": " "}), Correction(**FIELDS)])
    )
    assert [(result.index, result.created, type(result.error)) for result in results] == [
        (0, True, type(None)),
        (1, False, avocet_client.InvalidField),
        (2, True, type(None)),
    ]
    candidate = client.get_candidate(stored.id)
    assert (candidate.label, candidate.source, status_word(candidate)) == ("bad", "kiwi", "approved")
    examples = list(client.export())
    assert ids(examples) == [stored.id, results[0].id, results[2].id]
    assert [(message.role, message.content) for message in examples[0].messages] == [
        ("user", "1+1?"),
        ("assistant", "2"),
    ]
    assert (examples[0].rejected, examples[0].metadata.label) == ("3", "bad")


def test_an_export_is_pinned_narrowed_split_and_resumed(start: Start) -> None:
    names = [f"e{number:02d}" for number in range(24)]
    client = start(*(record(name, task_type="code" if name < "e12" else "sum", task_id=name[:2]) for name in names))
    for name in names[:20]:
        client.submit(name, action="correct", corrected_response=f"better {name}")
    middle = client.stats().revision
    for name in names[20:]:
        client.submit(name, action="correct", corrected_response="late")
    client.undo("e00")
    assert ids(client.export()) == names[1:]
    assert ids(client.export(at_revision=middle)) == names[:20]
    assert ids(client.export(since_revision=middle)) == names[20:]
    assert ids(client.export(filter=CandidateFilter(task_types=["sum"]))) == names[12:]
    shards = [ids(client.export(shard_index=index, shard_count=3)) for index in range(3)]
    assert sorted(sum(shards, [])) == names[1:] and all(shards)
    sides = [ids(client.export(split=side, validation_fraction=0.5, seed=7)) for side in ("train", "validation")]
    assert sorted(sum(sides, [])) == names[1:] and all(sides)
    assert [] in [ids(client.export(split=side, split_by="task", seed=1)) for side in ("train", "validation")]
    export = client.export(batch_size=4)
    taken = [next(export).id for _ in range(6)]
    other = client.export(batch_size=4)
    other.load_state_dict(export.state_dict())
    assert taken + ids(other) == names[1:]
    assert (other.total, other.revision) == (23, client.stats().revision)


def test_shards_and_splits_of_the_memory_service_are_the_servers(tmp_path: Path) -> None:
    records = [record(f"e{n}", status="approved", corrected_response="x") for n in range(60)]
    server = Server(tmp_path)
    write_records(server.approved, records)
    write_records(server.candidates, records)
    server.start()
    with CorrectionsClient(server.address) as real, Service(records).client() as memory:
        for index in range(4):
            wanted: Any = {
                "shard_index": index,
                "shard_count": 4,
                "split": "train",
                "validation_fraction": 0.3,
                "seed": 5,
            }
            for by in ("id", "prompt", "task"):
                assert set(ids(memory.export(**wanted, split_by=by))) == set(ids(real.export(**wanted, split_by=by)))
    server.kill()


def test_of_equal_prompts_the_newest_correction_is_exported(start: Start) -> None:
    prompt = record("a")["prompt_messages"]
    client = start(record("a", prompt_messages=prompt), record("b", prompt_messages=prompt), record("c"))
    for id in "acb":
        client.submit(id, action="correct", corrected_response=id)
    assert ids(client.export(unique_prompts=True)) == ["c", "b"]


def test_claims_keep_colleagues_apart(start: Start) -> None:
    client = start(*(record(id) for id in "abc"))
    with client.hold(reviewer="kim", limit=2, postpone_seconds=600) as held:
        assert [claim.candidate.id for claim in held] == ["a", "b"]
        (other,) = client.claim(reviewer="ann", limit=5)
        assert other.candidate.id == "c" and other.candidate.claim.reviewer == "ann"
        assert client.stats().claimed == 3
        with pytest.raises(avocet_client.Claimed) as caught:
            client.submit("a", action="flag", reviewer="ann")
        assert set(caught.value.metadata) == {"reviewer", "expires_at"} and caught.value.metadata["reviewer"] == "kim"
        assert ids(client.queue(claims="mine", reviewer="kim").items) == ["a", "b"]
        held[0].submit(action="discard")
        with pytest.raises(avocet_client.ClaimLost):
            client.submit("b", action="flag", lease_id=other.lease_id)
        assert client.submit("c", action="flag", reviewer="ann").reviewed_by == "ann", "the holder needs no lease"
    assert client.claim(reviewer="kim") == []
    (mine,) = client.claim(reviewer="ann")
    assert mine.candidate.id == "b"
    renewed = client.renew_claims([mine.lease_id, "unknown"], lease_seconds=3_600)
    assert (len(renewed.claims), list(renewed.lost)) == (1, ["unknown"])
    assert client.release_claims([mine.lease_id, mine.lease_id]).released == 1
    assert list(client.release_claims([mine.lease_id]).lost) == [mine.lease_id]


def test_lists_and_searches_see_candidates_of_any_status(start: Start) -> None:
    client = start(
        record("a", model_response="Blue WHALE"),
        record("b", status="approved", corrected_response="whale"),
        record("c", status="pending"),
        record("d"),
    )
    assert ids(client.candidates()) == ["a", "b", "c", "d"]
    assert ids(client.candidates(statuses=["other"])) == ["c"]
    assert ids(client.candidates(statuses=["needs_review", "approved"], page_size=1)) == ["a", "b", "d"]
    assert ids(client.candidates(text="whale")) == ["a", "b"]
    client.submit("d", action="flag")
    client.submit("a", action="flag")
    assert ids(client.candidates(statuses=["model_rejected"], order="reviewed_desc", page_size=1)) == ["a", "d"]
    assert ids(client.candidates(statuses=["model_rejected"], order="reviewed")) == ["d", "a"]


def test_the_history_says_who_changed_what(start: Start) -> None:
    client = start(record("a"), record("b"))
    begin = client.stats().revision
    client.submit("a", action="discard", reviewer="kim")
    client.undo("a", reviewer="ann")
    client.submit("b", action="flag")
    assert [(change.id, change.actor) for change in client.history(since_revision=begin, page_size=1)] == [
        ("b", ""),
        ("a", "ann"),
        ("a", "kim"),
    ]
    assert ids(client.history(since_revision=begin, actions=["flag", "discard"], oldest_first=True)) == ["a", "b"]
    change = next(client.history(id="a", actors=["kim"]))
    values = {field.name: (field.before_json, field.after_json) for field in change.fields}
    assert values["status"] == ('"needs_review"', '"discarded"') and values["reviewed_by"] == ("", '"kim"')
    assert (change.status_before, change.status_after) == ("needs_review", "discarded")
    (bare,) = (each for each in client.history(since_revision=begin, actors=["kim"]))
    assert {field.name for field in bare.fields} == set(values)
    assert {field.before_json for field in bare.fields} == {""}
    assert (change.source, change.file) == (pb.CHANGE_SOURCE_SERVICE, pb.SHARED_FILE_CANDIDATES)


def test_a_watch_sees_each_change_once_and_goes_on_from_its_state(start: Start) -> None:
    client = start(*(record(id) for id in "abcd"))
    begin = client.stats().revision
    for id in "abc":
        client.submit(id, action="flag")
    watch = client.watch(since_revision=begin, include_candidates=True)
    first = next(watch)
    assert (first.id, status_word(first.candidate)) == ("a", "model_rejected")
    state = json.loads(json.dumps(watch.state_dict()))
    watch.close()
    resumed = client.watch(since_revision=begin)
    resumed.load_state_dict(state)
    assert ids([next(resumed), next(resumed)]) == ["b", "c"]
    client.undo("a")
    change = next(resumed)
    assert (change.id, change.action) == ("a", pb.CHANGE_ACTION_UNDO)
    assert resumed.revision == client.stats().revision
    resumed.close()
    narrowed = client.watch(since_revision=begin, actions=["undo"])
    assert next(narrowed).id == "a"
    narrowed.close()


def test_a_batch_decides_each_for_itself(start: Start) -> None:
    client = start(*(record(id) for id in "abc"))
    decisions = [
        Decision(id="a", action="flag"),
        Decision(id="a", action="flag"),
        Decision(id="x", action="flag"),
        Decision(id="b", action="correct"),
        Decision(id="c", action="correct", corrected_response="better"),
    ]
    results = client.submit_many(decisions, request_id="r")
    assert [type(result.error) for result in results] == [
        type(None),
        avocet_client.NotInReview,
        avocet_client.CandidateNotFound,
        avocet_client.InvalidField,
        type(None),
    ]
    assert [result.status for result in results] == ["model_rejected", None, None, None, "approved"]
    again = client.submit_many(decisions, request_id="r")
    assert [(each.revision, type(each.error)) for each in again] == [(e.revision, type(e.error)) for e in results]


def test_snapshots_keep_what_was_exported(start: Start) -> None:
    client = start(*(record(id) for id in "abc"))
    client.submit("a", action="correct", corrected_response="1")
    made = client.create_snapshot("s-1", note="first")
    client.undo("a")
    client.submit("b", action="correct", corrected_response="2")
    client.create_snapshot("s-2")
    assert (made.example_count, client.get_snapshot("s-1")) == (1, made)
    assert ids(client.export(snapshot="s-1")) == ["a"] and ids(client.export(snapshot="s-2")) == ["b"]
    assert [each.name for each in client.snapshots(page_size=1)] == ["s-2", "s-1"]
    with pytest.raises(avocet_client.SnapshotExists):
        client.create_snapshot("s-1")
    client.delete_snapshot("s-1")
    with pytest.raises(avocet_client.SnapshotNotFound):
        client.export(snapshot="s-1").__next__()


def test_runs_are_listed_imported_and_uploaded(start: Start, tmp_path: Path) -> None:
    lines = [record("a", benchmark_run_id=RUN), record("b"), "{torn", record("c", status="pending"), record("a")]
    client = start(record("b", model_response="another"), **{RUN: lines, "2025-03-01-120000": []})
    first, second = client.runs(page_size=1)
    assert (first.run_id, first.candidate_count, first.malformed_count, first.already_imported) == (RUN, 4, 1, False)
    assert second.run_id == "2025-03-01-120000"
    answer = client.import_run(RUN)
    counts = (answer.imported, answer.skipped, answer.conflicts, answer.malformed, answer.qualified)
    assert counts == (2, 0, 2, 1, 0), "the second line of an id with other content is a conflict"
    assert answer.by_status == {"needs_review": 1, "pending": 1}
    assert [(problem.line, problem.id) for problem in answer.problems] == [(2, "b"), (3, ""), (5, "a")]
    client.submit("a", action="flag")
    assert client.import_run(RUN).skipped == 2
    qualified = client.import_run(RUN, on_conflict=pb.ON_CONFLICT_QUALIFY)
    assert (qualified.qualified, qualified.skipped) == (2, 2)
    assert client.get_candidate(f"{RUN}/b").model_response == record("b")["model_response"]
    assert next(client.runs()).already_imported
    file = tmp_path / "upload" / "sft_candidates.jsonl"
    file.parent.mkdir()
    write_records(file, [record("u")])
    assert client.upload_run(file).imported == 1
    assert client.upload_run(file.parent).skipped == 1


def test_version_health_and_config_are_there(start: Start) -> None:
    client = start()
    assert client.version().version == avocet_client.__version__
    assert client.version().started_at.ToSeconds() > 0
    assert client.health() == "serving"
    assert client.set_config(bench_results_dir="/srv/bench").bench_results_dir == "/srv/bench"
    assert client.get_config().bench_results_dir == "/srv/bench"


REFUSED: dict[str, Callable[[Any], Any]] = {
    "unknown candidate": lambda c: c.get_candidate("x"),
    "no id": lambda c: c.get_candidate(""),
    "long id": lambda c: c.get_candidate("x" * 513),
    "blank correction": lambda c: c.submit("a", action="correct", corrected_response=" "),
    "both corrections": lambda c: c.submit(
        "a", action="correct", corrected_response="x", corrected_message={"content": "y"}
    ),
    "role": lambda c: c.submit("a", action="correct", corrected_message={"role": "user", "content": "y"}),
    "empty message": lambda c: c.submit("a", action="correct", corrected_message={"role": "assistant"}),
    "bad calls": lambda c: c.submit("a", action="correct", corrected_message={"tool_calls": []}),
    "long reviewer": lambda c: c.submit("a", action="flag", reviewer="x" * 1_001),
    "long request id": lambda c: c.submit("a", action="flag", request_id="x" * 129),
    "decided": lambda c: c.submit("d", action="flag"),
    "decided by revision": lambda c: c.submit("d", action="flag", expected_revision=1),
    "decided under a lease": lambda c: c.submit("d", action="flag", lease_id="x"),
    "other status": lambda c: c.submit("p", action="flag"),
    "unknown lease": lambda c: c.submit("a", action="flag", lease_id="x"),
    "long lease": lambda c: c.submit("a", action="flag", lease_id="x" * 65),
    "undo in review": lambda c: c.undo("a"),
    "undo unknown": lambda c: c.undo("x"),
    "undo by revision": lambda c: c.undo("d", expected_revision=1),
    "negative page": lambda c: c.queue(page=-1),
    "page and token": lambda c: c.queue(page=2, page_token="x"),
    "foreign token": lambda c: c.queue(page_token="x"),
    "review order": lambda c: c.queue(order="reviewed"),
    "mine without reviewer": lambda c: c.queue(claims="mine"),
    "nan bound": lambda c: c.queue(filter=CandidateFilter(min_quality_score=float("nan"))),
    "bad digest": lambda c: c.queue(filter=CandidateFilter(prompt_digests=["x"])),
    "negative page size": lambda c: c.list_candidates(page_size=-1),
    "short text": lambda c: c.list_candidates(text="ab"),
    "text in order": lambda c: c.list_candidates(text="abc", order="quality"),
    "history to come": lambda c: c.list_history(since_revision=2**62),
    "history gone": lambda c: c.list_history(since_revision=1),
    "watch gone": lambda c: next(c.watch(since_revision=1)),
    "watch to come": lambda c: next(c.watch(since_revision=2**62)),
    "claim without reviewer": lambda c: c.claim(),
    "claim too many": lambda c: c.claim(reviewer="kim", limit=51),
    "short lease": lambda c: c.claim(reviewer="kim", lease_seconds=9),
    "renew nothing": lambda c: c.renew_claims([]),
    "long postponement": lambda c: c.release_claims(["x"], postpone_seconds=604_801),
    "export to come": lambda c: list(c.export(at_revision=2**62)),
    "export gone": lambda c: list(c.export(at_revision=1)),
    "shard": lambda c: list(c.export(shard_index=1)),
    "batch size": lambda c: list(c.export(batch_size=1_001)),
    "fraction": lambda c: list(c.export(split="train", validation_fraction=2)),
    "snapshot and revision": lambda c: list(c.export(snapshot="s", at_revision=5)),
    "unknown snapshot": lambda c: list(c.export(snapshot="s")),
    "snapshot name": lambda c: c.create_snapshot("S"),
    "snapshot to come": lambda c: c.create_snapshot("s", at_revision=2**62),
    "snapshot gone": lambda c: c.create_snapshot("s", at_revision=1),
    "get snapshot": lambda c: c.get_snapshot("s"),
    "delete snapshot": lambda c: c.delete_snapshot("s"),
    "unknown run": lambda c: c.import_run("x"),
    "run outside": lambda c: c.import_run("../x"),
    "relative directory": lambda c: c.set_config(bench_results_dir="x"),
    "blank source": lambda c: c.ingest(**FIELDS | {"source": ""}),
    "long label": lambda c: c.ingest(**FIELDS, label="x" * 1_001),
    "wrong token": lambda c: c.ingest(**FIELDS, metadata=[("authorization", "Bearer x")]),
    "no token": lambda c: c.ingest(**FIELDS, metadata=[("authorization", "x")]),
}


@pytest.fixture(scope="module")
def real_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CorrectionsClient]:
    server = Server(tmp_path_factory.mktemp("real"))
    write_records(server.candidates, candidates_of_refusals())
    server.start()
    with CorrectionsClient(server.address, token=SECRET) as client:
        yield client
    server.kill()


def candidates_of_refusals() -> list[Json]:
    decided = record("d", status="approved", corrected_response="x")
    return [record("a"), decided, record("p", status="pending")]


def refusal(call: Callable[[Any], Any], client: Any) -> tuple[Any, ...]:
    """What a caller can tell of an error; revisions are each service's own."""
    with pytest.raises(avocet_client.CorrectionsError) as caught:
        call(client)
    error = caught.value
    metadata = {key: value for key, value in error.metadata.items() if "revision" not in key}
    fields = [violation.field for violation in error.field_violations]
    return type(error), error.code, error.reason, set(error.metadata), metadata, fields


@pytest.mark.parametrize("name", REFUSED)
def test_a_call_is_refused_as_the_server_refuses_it(name: str, real_client: Any) -> None:
    service = Service(candidates_of_refusals(), secret=SECRET)
    assert refusal(REFUSED[name], service.client()) == refusal(REFUSED[name], real_client)


def test_leases_and_postponements_end_when_the_clock_is_set() -> None:
    service = Service([record("a"), record("b")])
    with service.client() as client:
        (claim,) = client.claim(reviewer="kim", lease_seconds=60)
        assert client.claim(reviewer="ann")[0].candidate.id == "b"
        service.clock.advance(61)
        with pytest.raises(avocet_client.ClaimLost):
            client.submit("a", action="flag", lease_id=claim.lease_id)
        assert list(client.renew_claims([claim.lease_id]).lost) == [claim.lease_id]
        (again,) = client.claim(reviewer="ann")
        client.release_claims([again.lease_id], postpone_seconds=600)
        assert client.claim(reviewer="ann") == []
        service.clock.advance(601)
        assert {one.candidate.id for one in client.claim(reviewer="ann", limit=5)} == {"a", "b"}


def test_a_service_fails_as_a_test_asks_and_then_goes_on() -> None:
    service = Service([record("a")])
    with service.client() as client:
        service.fail_next("Submit", avocet_client.StorageFull)
        with pytest.raises(avocet_client.TryLater) as caught:
            client.submit("a", action="flag")
        assert (type(caught.value), caught.value.code.name) == (avocet_client.StorageFull, "RESOURCE_EXHAUSTED")
        assert client.submit("a", action="flag").revision
        with pytest.raises(ValueError, match="not an error of the service"):
            service.fail_next("Submit", avocet_client.TransportError)


def test_a_service_without_a_secret_takes_no_corrections() -> None:
    with Service(secret=None).client() as client, pytest.raises(avocet_client.IngestionNotConfigured):
        client.ingest(**FIELDS)


def test_a_caller_cannot_reach_what_the_service_holds() -> None:
    given = record("a")
    with Service([given]).client() as client:
        given["status"] = "discarded"
        client.get_candidate("a").corrected_response = "changed by the caller"
        assert not client.get_candidate("a").HasField("corrected_response")
        assert status_word(client.get_candidate("a")) == "needs_review"


def test_every_method_of_the_service_is_answered_in_memory() -> None:
    from avocet_client.testing.service import UNARY

    other = {
        "GetCandidate",
        "GetVersion",
        "GetConfig",
        "SetConfig",
        "StreamExport",
        "Watch",
        "UploadRun",
        "StreamIngest",
    }
    methods = pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods
    assert {method.name for method in methods} == set(UNARY) | other
