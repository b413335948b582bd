"""The small rules of reviewing as a team that no other test looks at."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Json, Server, eventually, failure_of, failure_of_status, record, write_records


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(8)])
    return stopped_server.start()


def rewrite(server: Server, id: str, **changes: Any) -> None:
    """Another program changes a record of the candidates file, or removes it if there are no changes."""
    kept = list[Json]()
    for line in server.candidates.read_text().split("\n"):
        if line.strip() and ((one := json.loads(line))["id"] != id or changes):
            kept.append(one | changes if one["id"] == id else one)
    new = server.candidates.with_name("rewritten")
    write_records(new, kept)
    new.replace(server.candidates)


def history(server: Server, **fields: Any) -> list[pb.Change]:
    return list(server.stub.ListHistory(pb.ListHistoryRequest(**fields)).changes)


def watched(server: Server, **fields: Any) -> Iterator[pb.Change]:
    """The changes of a watch from now on."""
    call = server.stub.Watch(pb.WatchRequest(**fields), timeout=60)
    next(call)
    return (change for response in call for change in response.changes)


def test_a_claim_without_numbers_is_of_one_candidate_for_ten_minutes(server: Server) -> None:
    before = time.time()
    (claim,) = server.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims
    assert 590 < claim.expires_at.ToMilliseconds() / 1_000 - before < 660


def test_a_lease_id_that_is_given_twice_counts_once(server: Server) -> None:
    (claim,) = server.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims
    twice = [claim.lease_id, "made up", claim.lease_id, "made up"]
    renewed = server.stub.RenewClaims(pb.RenewClaimsRequest(lease_ids=twice))
    assert ([one.lease_id for one in renewed.claims], list(renewed.lost)) == ([claim.lease_id], ["made up"])
    released = server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=twice))
    assert (released.released, list(released.lost)) == (1, ["made up"])


@pytest.mark.files("another program writes")
def test_an_edit_keeps_a_claim_while_its_candidate_stays_in_review_and_a_watch_shows_the_holder(
    server: Server,
) -> None:
    (claim,) = server.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims
    changes = watched(server, include_candidates=True)
    rewrite(server, "c0", note="edited")
    change = next(changes)
    assert (change.id, change.action) == ("c0", pb.CHANGE_ACTION_EDIT)
    assert change.candidate.claim == claim.candidate.claim
    rewrite(server, "c0", status="pending")
    change = next(changes)
    assert (change.status_before, change.status_after) == ("needs_review", "pending")
    assert not change.candidate.HasField("claim")
    renewed = server.stub.RenewClaims(pb.RenewClaimsRequest(lease_ids=[claim.lease_id]))
    assert list(renewed.lost) == [claim.lease_id]


@pytest.mark.files("another program writes")
def test_what_other_programs_did_has_no_actor_and_says_so(server: Server) -> None:
    changes = watched(server, include_candidates=True)
    with server.candidates.open("a") as file:
        file.write(json.dumps(record("late")) + "\n")
    seen = [next(changes)]
    rewrite(server, "c1", note="edited")
    seen.append(next(changes))
    rewrite(server, "c2")
    seen.append(next(changes))
    actions = [pb.CHANGE_ACTION_ADD, pb.CHANGE_ACTION_EDIT, pb.CHANGE_ACTION_REMOVE]
    assert [(one.id, one.action) for one in seen] == list(zip(["late", "c1", "c2"], actions, strict=True))
    assert {(one.actor, one.source) for one in seen} == {("", pb.CHANGE_SOURCE_EXTERNAL)}
    assert [one.HasField("candidate") for one in seen] == [True, True, False]
    assert [[field.name for field in one.fields] for one in seen] == [[], ["note"], []]
    (edited,) = history(server, id="c1")
    assert [(f.name, f.before_json, f.after_json) for f in edited.fields] == [("note", "", '"edited"')]
    assert not history(server, id="c2")[0].fields


def test_a_correction_is_one_change_although_it_is_in_both_files(server: Server) -> None:
    changes = watched(server)
    decided = [server.correct("c0").revision, server.stub.Undo(pb.UndoRequest(id="c0")).candidate.revision]
    server.stub.Submit(pb.SubmitRequest(id="c1", action=pb.ACTION_FLAG))
    seen = [next(changes) for _ in range(3)]
    assert [one.revision for one in seen] == [*decided, decided[-1] + 1]
    assert {one.file for one in seen} == {pb.SHARED_FILE_CANDIDATES}


def test_a_batch_heeds_claims_as_single_submits_do(server: Server) -> None:
    mine, other = (server.stub.Claim(pb.ClaimRequest(reviewer=name)).claims[0] for name in ("ann", "bob"))
    decisions = [
        pb.SubmitRequest(id=mine.candidate.id, action=pb.ACTION_DISCARD, lease_id=mine.lease_id),
        pb.SubmitRequest(id=other.candidate.id, action=pb.ACTION_DISCARD, reviewer="ann"),
    ]
    results = server.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=decisions)).results
    assert results[0].candidate.id == mine.candidate.id
    refused = failure_of_status(results[1].error)
    assert (refused.reason, refused.metadata["reviewer"]) == ("CLAIMED", "bob")
    assert server.stats().claimed == 1
    assert server.stub.GetCandidate(pb.GetCandidateRequest(id=mine.candidate.id)).candidate.reviewed_by == "ann"


def test_a_snapshot_with_anything_else_is_as_its_revision_with_the_same(server: Server) -> None:
    for n in range(6):
        server.correct(f"c{n}")
    since = server.stub.GetCandidate(pb.GetCandidateRequest(id="c2")).candidate.revision
    made = server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="a")).snapshot
    server.stub.Undo(pb.UndoRequest(id="c4"))
    asked: list[dict[str, Any]] = [
        {"since_revision": since},
        {"filter": pb.CandidateFilter(task_types=["summary"])},
        {"shard_index": 1, "shard_count": 2},
        {"split": pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.5)},
        {"unique_prompts": True},
    ]
    sizes = []
    for fields in asked:
        by_name = list(server.stub.StreamExport(pb.StreamExportRequest(snapshot="a", **fields)))
        by_revision = list(server.stub.StreamExport(pb.StreamExportRequest(at_revision=made.revision, **fields)))
        assert by_name[-1].summary == by_revision[-1].summary
        assert [list(one.examples) for one in by_name] == [list(one.examples) for one in by_revision]
        sizes.append(by_name[-1].summary.example_count)
    assert sizes[0] == 3 and sizes[4] == 6 and all(0 < size < 6 for size in sizes[1:4])


def test_page_sizes_have_their_defaults_and_more_than_the_most_is_the_most(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}") for n in range(510)])
    server.start()
    flags = [pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_FLAG) for n in range(510)]
    for first in (0, 255):
        server.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=flags[first : first + 255]))
    for n in range(60):
        server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name=f"s{n}"))
    for size, listed, changes, snapshots in ((0, 20, 50, 50), (501, 500, 500, 60), (2**31 - 1, 500, 500, 60)):
        assert len(server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=size)).items) == listed
        assert len(history(server, page_size=size)) == changes
        assert len(server.stub.ListSnapshots(pb.ListSnapshotsRequest(page_size=size)).snapshots) == snapshots


def test_a_response_of_a_watch_has_at_most_a_thousand_changes(server: Server) -> None:
    start = server.stats().revision
    lines = "".join(json.dumps({"id": f"i{n}", "status": "needs_review"}) + "\n" for n in range(2_500))
    server.stub.UploadRun(iter([pb.UploadRunRequest(run_id="r", lines=lines.encode())]))
    sizes = list[int]()
    for response in server.stub.Watch(pb.WatchRequest(since_revision=start), timeout=60):
        sizes += [len(response.changes)]
        if sum(sizes) == 2_500:
            break
    assert max(sizes) <= 1_000


def test_a_refused_claim_is_not_remembered_by_its_request_id(server: Server) -> None:
    request = pb.ClaimRequest(reviewer="ann", limit=51, request_id="r")
    assert failure_of(lambda: server.stub.Claim(request)).fields == ["limit"]
    request.limit = 2
    assert len(server.stub.Claim(request).claims) == 2


def test_who_lists_and_a_decision_in_between_is_missed_or_seen_once_in_the_order_of_review(server: Server) -> None:
    for n in range(4):
        server.correct(f"c{n}")
    request = pb.ListCandidatesRequest(
        statuses=[pb.CANDIDATE_STATUS_APPROVED], order=pb.ORDER_REVIEWED_DESC, page_size=2
    )
    first = server.stub.ListCandidates(request)
    assert [item.id for item in first.items] == ["c3", "c2"]
    server.stub.Undo(pb.UndoRequest(id="c1"))
    server.correct("c1", "again")
    server.correct("c5")
    request.page_token = first.next_page_token
    assert [item.id for item in server.stub.ListCandidates(request).items] == ["c0"]


def test_a_history_is_listed_to_the_oldest_that_is_kept_and_a_token_behind_it_is_expired(
    stopped_server: Server,
) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}") for n in range(8)])
    server.start()
    for n in range(6):
        server.stub.Submit(pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_FLAG))
    tokens = {
        oldest_first: server.stub.ListHistory(
            pb.ListHistoryRequest(oldest_first=oldest_first, page_size=2)
        ).next_page_token
        for oldest_first in (False, True)
    }
    assert server.stop() == 0
    server.environment |= {"AVOCET_KEEP_HISTORY": str(2 / 86_400)}
    server.start()
    server.stub.Submit(pb.SubmitRequest(id="c6", action=pb.ACTION_FLAG))
    eventually(lambda: len(history(server)) == 1)
    expired = pb.ListHistoryRequest(oldest_first=True, page_token=tokens[True])
    failure = failure_of(lambda: server.stub.ListHistory(expired))
    assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_EXPIRED")
    rest = server.stub.ListHistory(pb.ListHistoryRequest(page_token=tokens[False]))
    assert not rest.changes and not rest.next_page_token
    assert [one.id for one in history(server, oldest_first=True)] == ["c6"]


def test_postponed_candidates_stay_so_over_a_restart(server: Server) -> None:
    (claim,) = server.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims
    server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[claim.lease_id], postpone_seconds=600))
    server.kill()
    server.start()
    assert server.stub.Claim(pb.ClaimRequest(reviewer="ann")).claims[0].candidate.id == "c1"
    assert server.stub.Claim(pb.ClaimRequest(reviewer="bob")).claims[0].candidate.id == "c0"


@pytest.mark.files("the private directory")
def test_claims_history_and_snapshots_go_with_the_private_directory_and_what_names_them_says_so(
    server: Server,
) -> None:
    for n in range(6):
        server.correct(f"c{n}", request_id=f"r{n}")
    server.stub.Claim(pb.ClaimRequest(reviewer="ann"))
    made = server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="a")).snapshot
    history_tokens = [
        server.stub.ListHistory(pb.ListHistoryRequest(oldest_first=oldest_first, page_size=5)).next_page_token
        for oldest_first in (True, False)
    ]
    watch = server.stub.Watch(pb.WatchRequest(since_revision=made.revision - 1))
    next(watch)
    watch_token = next(watch).resume_token
    export_token = next(iter(server.stub.StreamExport(pb.StreamExportRequest(batch_size=1)))).resume_token
    assert server.stop() == 0
    shutil.rmtree(server.data / ".avocet")
    server.start()
    assert server.stats().claimed == 0 and server.stats().export_ready == 6 and history(server) == []
    for n in range(6):
        server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
    calls: list[Callable[[], object]] = [
        lambda: history(server, since_revision=made.revision),
        lambda: history(server, oldest_first=True, page_token=history_tokens[0]),
        lambda: next(server.stub.Watch(pb.WatchRequest(since_revision=made.revision))),
        lambda: next(server.stub.Watch(pb.WatchRequest(resume_token=watch_token))),
        lambda: list(server.stub.StreamExport(pb.StreamExportRequest(at_revision=made.revision))),
        lambda: list(server.stub.StreamExport(pb.StreamExportRequest(since_revision=made.revision))),
        lambda: list(server.stub.StreamExport(pb.StreamExportRequest(resume_token=export_token))),
        lambda: server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="a", at_revision=made.revision)),
    ]
    assert [failure_of(call).reason for call in calls] == ["REVISION_EXPIRED"] * len(calls)
    gone = failure_of(lambda: server.stub.GetSnapshot(pb.GetSnapshotRequest(name="a")))
    assert gone.reason == "SNAPSHOT_NOT_FOUND"
    # Nothing older than that page is kept, whatever the changes since are numbered.
    assert history(server, page_token=history_tokens[1]) == []
    assert server.correct("c0", request_id="r0").revision > made.revision


def test_two_lines_of_one_id_at_once_are_changes_of_two_revisions(server: Server) -> None:
    server.correct("c0")
    eventually(lambda: server.approved.read_bytes())
    known = record("c9", status="approved", corrected_response="first")
    with server.approved.open("a") as file:
        file.write("".join(json.dumps(known | {"corrected_response": text}) + "\n" for text in ("first", "second")))
    eventually(lambda: len(history(server, id="c9")) == 2)
    found = history(server, id="c9", oldest_first=True)
    assert [one.action for one in found] == [pb.CHANGE_ACTION_ADD, pb.CHANGE_ACTION_EDIT]
    assert len({(one.file, one.id, one.revision) for one in found}) == 2


def test_a_change_of_a_record_without_a_status_says_none(server: Server) -> None:
    with server.candidates.open("a") as file:
        file.write(json.dumps({"id": "none"}) + "\n")
    eventually(lambda: history(server, id="none"))
    server.stub.Undo(pb.UndoRequest(id="none"))
    undone, added = history(server, id="none")
    assert (added.status_before, added.status_after) == ("", "")
    assert (undone.status_before, undone.status_after) == ("", "needs_review")


def test_an_edit_that_was_not_taken_leaves_the_status(server: Server) -> None:
    before = [json.loads(line) for line in server.candidates.read_text().splitlines()]
    server.correct("c0")
    eventually(lambda: b"approved" in server.candidates.read_bytes())
    new = server.candidates.with_name("rewritten")
    write_records(new, [one | ({"label": "odd"} if one["id"] == "c0" else {}) for one in before])
    new.replace(server.candidates)
    eventually(lambda: history(server, id="c0", actions=[pb.CHANGE_ACTION_OVERRULE]))
    (overruled,) = history(server, id="c0", actions=[pb.CHANGE_ACTION_OVERRULE])
    assert (overruled.status_before, overruled.status_after) == ("approved", "approved")
    assert "label" in [field.name for field in overruled.fields]
