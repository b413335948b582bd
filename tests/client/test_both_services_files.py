"""What other programs append, and what imports take: one suite on the real server and the in-memory service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from avocet_client import Correction
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.conftest import Start
from tests.support import eventually, record, write_records


def approved(id: str, correction: str, **keys: Any) -> Any:
    return record(id, status="approved", corrected_response=correction, **keys)


def exported(client: Any) -> list[tuple[str, str]]:
    return [(one.id, one.messages[-1].content) for one in client.export()]


def counts(answer: Any) -> tuple[int, ...]:
    return answer.imported, answer.skipped, answer.conflicts, answer.malformed, answer.qualified


def test_the_first_line_of_an_id_stays_the_record_and_the_last_approved_one_is_exported(start: Start) -> None:
    again = [approved("b", "new"), approved("b", " "), record("a", model_response="another")]
    client = start(record("a"), approved("b", "old"), approved("c", "c"), *again)
    assert client.get_candidate("a").model_response == record("a")["model_response"]
    assert client.get_candidate("b").corrected_response == "old"
    assert exported(client) == [("c", "c"), ("b", "new")]
    stats = client.stats()
    assert (stats.total, stats.duplicate_ids, stats.export_ready, stats.unexportable) == (3, 5, 2, {})
    client.undo("b")
    assert exported(client) == [("c", "c")]
    eventually(lambda: client.stats().duplicate_ids == 3)


def test_what_is_appended_later_replaces_no_candidate_and_is_exported_in_place_of_the_one_before(start: Start) -> None:
    client = start(record("a"), approved("b", "old"))
    before = client.stats().revision
    client.submit("a", action="correct", corrected_response="ours")
    start.add(record("a", model_response="another"), approved("b", "new"), record("d"))
    eventually(lambda: client.stats().duplicate_ids == 3 and client.stats().total == 3)
    assert client.get_candidate("a").model_response == record("a")["model_response"]
    assert exported(client) == [("a", "ours"), ("b", "new")]
    start.add(approved("a", "theirs"))
    eventually(lambda: client.stats().duplicate_ids == 5)
    assert exported(client) == [("b", "new"), ("a", "theirs")]
    assert client.get_candidate("a").corrected_response == "ours"
    changes = [(one.id, one.action, one.source, one.file) for one in client.history(since_revision=before)]
    external, edit = pb.CHANGE_SOURCE_EXTERNAL, pb.CHANGE_ACTION_EDIT
    assert set(changes) == {
        ("a", pb.CHANGE_ACTION_CORRECT, pb.CHANGE_SOURCE_SERVICE, pb.SHARED_FILE_CANDIDATES),
        ("b", edit, external, pb.SHARED_FILE_APPROVED),
        ("d", pb.CHANGE_ACTION_ADD, external, pb.SHARED_FILE_CANDIDATES),
        ("a", edit, external, pb.SHARED_FILE_APPROVED),
    }
    client.undo("a")
    assert exported(client) == [("b", "new")]
    assert client.get_candidate("a", include_record=True).record_json == json.dumps(record("a"))


def test_what_the_service_took_out_does_not_come_back_by_an_old_line(start: Start) -> None:
    old = approved("b", "old")
    client = start(record("a"), old)
    client.undo("b")
    client.submit("a", action="flag")
    start.add(old, record("a"), record("last"))
    eventually(lambda: client.stats().total == 3)
    assert (client.stats().duplicate_ids, exported(client)) == (0, [])


def test_the_history_begins_behind_the_candidates_that_were_there(start: Start) -> None:
    client = start(record("a"), approved("b", "x"))
    assert list(client.history()) == []
    start.add(record("c"), {"id": "d"}, approved("e", "x"))
    eventually(lambda: client.stats().total == 5 and client.stats().export_ready == 2)
    changes = list(client.history(oldest_first=True))
    words = {(one.id, one.file, one.status_before, one.status_after) for one in changes}
    first, second = pb.SHARED_FILE_CANDIDATES, pb.SHARED_FILE_APPROVED
    assert words == {
        ("c", first, "", "needs_review"),
        ("d", first, "", ""),
        ("e", first, "", "approved"),
        ("e", second, "", "approved"),
    }
    assert {(one.action, one.source, one.actor) for one in changes} == {
        (pb.CHANGE_ACTION_ADD, pb.CHANGE_SOURCE_EXTERNAL, "")
    }


def test_an_import_notes_the_status_word_of_each_record_and_none_where_there_is_none(start: Start) -> None:
    client = start(run=[{"id": "a", "status": "pending"}, {"id": "b"}, {"id": "c", "status": 5}])
    assert client.import_run("run").by_status == {"pending": 1, "unknown": 2}
    changes = {one.id: (one.status_before, one.status_after) for one in client.history()}
    assert changes == {"a": ("", "pending"), "b": ("", ""), "c": ("", "")}


def test_the_history_names_the_token_that_ingested(start: Start) -> None:
    client = start()
    (stored,) = client.ingest_many([Correction(source="kiwi", task_type="sum", prompt="1+1?", correction="2")])
    assert [(one.id, one.actor) for one in client.history()] == [(stored.id, "ingestion-secret")]


def test_an_import_says_of_each_line_that_is_no_record_what_is_wrong(start: Start, tmp_path: Path) -> None:
    client = start()
    file = tmp_path / "run" / "sft_candidates.jsonl"
    file.parent.mkdir()
    nested = b'{"id": "deep", "x": %s}'
    lines = [
        b'\xef\xbb\xbf{"id": "bom"}',
        b'{"id": "x", "y": "\xff"}',
        b'{"id": "a\\u0000"}',
        b'{"id": "\\ud800"}',
        b"",
        nested % (b"[" * 500 + b"]" * 500),
        nested % (b"[" * 499 + b"]" * 499),
        b"[]",
        b'{"id": 5}',
        b"{}",
        b'\xef\xbb\xbf{"id": "bom again"}',
        "\u2028".encode(),
        b'{"id": "in a string", "x": "%s"}' % (b"[" * 600),
    ]
    file.write_bytes(b"\n".join(lines))
    answer = client.upload_run(file)
    assert counts(answer) == (3, 0, 0, 9, 0)
    bad_id = "the id is not a string of 1 to 512 characters of valid Unicode, none of them NUL"
    assert [(one.line, one.reason) for one in answer.problems] == [
        (2, "the line is not UTF-8 text"),
        (3, bad_id),
        (4, bad_id),
        (6, "the line nests deeper than 500"),
        (8, "the line is not a JSON object"),
        (9, bad_id),
        (10, "the record has no id"),
        (11, "the line is not a JSON object"),
        (12, "the line is not a JSON object"),
    ]
    assert client.get_candidate("bom").id == "bom"


def test_content_is_compared_as_json_compares_it(start: Start) -> None:
    nan = float("nan")
    lines: list[Any] = [
        {"id": "a", "n": 1},
        {"n": 1.0, "id": "a"},
        {"id": "a", "n": True},
        {"id": "b", "n": [nan]},
        {"id": "b", "n": [nan]},
        {"id": "c", "n": 0},
        {"id": "c", "n": False},
    ]
    client = start(run=lines)
    assert counts(client.import_run("run")) == (3, 2, 2, 0, 0)


def test_an_import_under_another_id_that_would_be_too_long_is_a_conflict(start: Start, tmp_path: Path) -> None:
    long = "x" * 512
    client = start(record(long), record("a"))
    file = tmp_path / "run" / "sft_candidates.jsonl"
    file.parent.mkdir()
    write_records(file, [{"id": long}, {"id": "a", "n": 1}, {"id": "a", "n": 2}])
    answer = client.upload_run(file, on_conflict=pb.ON_CONFLICT_QUALIFY)
    assert counts(answer) == (0, 0, 2, 0, 1)
    assert [one.reason for one in answer.problems] == [
        "the id '<run_id>/<id>' would have more than 512 characters",
        "records of this id and of '<run_id>/<id>' with other content are known",
    ]


def test_candidates_with_the_same_prompt_are_counted_where_candidates_are_read(start: Start) -> None:
    prompt = record("a")["prompt_messages"]
    client = start(record("a"), record("b", prompt_messages=prompt))
    before = client.stats().revision
    assert [one.same_prompt for one in client.queue().items] == [1, 1]
    assert [one.same_prompt for one in client.candidates()] == [1, 1]
    assert client.get_candidate("a").same_prompt == 1
    assert client.claim(reviewer="kim")[0].candidate.same_prompt == 1
    client.submit("b", action="flag")
    assert client.undo("b").same_prompt == 0
    watch = client.watch(since_revision=before, include_candidates=True)
    assert next(watch).candidate.same_prompt == 0
    watch.close()
