"""Reads, exports, snapshots and runs: one suite on the real server and on the in-memory service, with both clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import avocet_client
import avocet_client.errors
from avocet_client import CandidateFilter, CorrectionsClient, status_word
from avocet_client.testing import Service
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Start
from tests.support import Server, record, write_records

RUN = "2025-03-02-120000"


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


def test_what_is_served_as_a_quality_is_what_filters_and_orders_see(start: Start) -> None:
    odd = [float("nan"), float("inf"), float("-inf"), 10**400, "0.5", True, [1], None]
    numbers = [0.5, -0.0, 1, 2**53 + 1, -1e300]
    client = start(*(record(f"r{n}", quality_score=value) for n, value in enumerate([*odd, *numbers])))
    scores = {one.id: one.quality_score for one in client.in_review() if one.HasField("quality_score")}
    assert scores == {f"r{n}": float(value) for n, value in enumerate(numbers, len(odd))}
    for least in (-1e308, 0.0, 0.75):
        found = ids(client.in_review(filter=CandidateFilter(min_quality_score=least)))
        assert found == [id for id, score in scores.items() if score >= least]
    without = [f"r{n}" for n in range(len(odd))]
    assert ids(client.in_review(order="quality")) == sorted(scores, key=lambda id: scores[id]) + without
    exact = client.get_candidate(f"r{len(odd) + 3}")
    assert json.loads(exact.extra_json) == {"quality_score": 2**53 + 1}
    assert json.loads(client.get_candidate("r1").extra_json) == {"quality_score": float("inf")}
    for id in ("r1", *scores):
        client.submit(id, action="correct", corrected_response="x")
    exported = {one.id: one.metadata.quality_score for one in client.export() if one.metadata.HasField("quality_score")}
    assert exported == scores
    assert {one.id for one in client.export(filter=CandidateFilter(min_quality_score=-1e308))} == scores.keys()


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


EXPORTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "a filter": {"filter": CandidateFilter(task_types=["code"])},
    "a shard": {"shard_index": 0, "shard_count": 1},
    "a split": {"split": "train", "validation_fraction": 0.0},
    "since a revision": {"since_revision": ...},
    "one of each prompt": {"unique_prompts": True},
    "a snapshot": {"snapshot": "s-1"},
    "a filtered snapshot": {"snapshot": "s-1", "filter": CandidateFilter(task_types=["code"])},
}


@pytest.mark.parametrize("options", EXPORTS.values(), ids=EXPORTS)
def test_an_export_of_any_kind_is_continued_where_it_was_left(start: Start, options: dict[str, Any]) -> None:
    client = start(*(record(id, task_type="code", prompt_messages=[{"role": "user", "content": id}]) for id in "abc"))
    if "since_revision" in options:
        options = {"since_revision": client.stats().revision}
    for id in "abc":
        client.submit(id, action="correct", corrected_response=id)
    client.create_snapshot("s-1")
    for handed_out in range(4):
        # With batches of two, a state is left at the start of one, within one, and behind one.
        export = client.export(batch_size=2, **options)
        before = [next(export).id for _ in range(handed_out)]
        resumed = client.export(batch_size=2, **options)
        resumed.load_state_dict(json.loads(json.dumps(export.state_dict())))
        assert [*before, *ids(resumed)] == ["a", "b", "c"]


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "made again"])
def test_an_export_of_a_snapshot_goes_on_after_its_end(start: Start, again: bool) -> None:
    client = start(*(record(id) for id in "abcd"))
    for id in "abc":
        client.submit(id, action="correct", corrected_response=id)
    client.create_snapshot("s-1")
    for handed_out in range(1, 4):
        before, states = client.export(batch_size=2, snapshot="s-1"), []
        found = [next(before).id for _ in range(handed_out)]
        states.append(before.state_dict())
        client.undo("a")
        client.delete_snapshot("s-1")
        if again:
            client.create_snapshot("s-1")
        while len(found) < 4:
            # Each part is a process of its own, which has the state alone.
            part = client.export(batch_size=2, snapshot="s-1")
            part.load_state_dict(json.loads(json.dumps(states[-1])))
            found += [example.id for example in [next(part, None)] if example] or ["end"]
            states.append(part.state_dict())
        assert found == ["a", "b", "c", "end"]
        client.submit("a", action="correct", corrected_response="a")
        if again:
            client.delete_snapshot("s-1")
        # In the order of their approval, as before.
        for id in "bc":
            client.undo(id)
            client.submit(id, action="correct", corrected_response=id)
        client.create_snapshot("s-1")


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
