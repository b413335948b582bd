"""Watch: every change once, in order, as it commits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, failure_of, record, write_records


@pytest.fixture
def server(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(f"c{n}", task_type=f"t{n % 2}") for n in range(10)])
    return stopped_server.start()


class Watcher:
    """A call of Watch that is read in a thread of its own."""

    def __init__(self, server: Server, **fields: Any) -> None:
        self.call: Any = server.stub.Watch(pb.WatchRequest(**fields))
        self.responses: list[pb.WatchResponse] = [next(self.call)]
        self.error: grpc.RpcError | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            self.responses.extend(self.call)
        except grpc.RpcError as error:
            self.error = error

    @property
    def changes(self) -> list[pb.Change]:
        return [change for response in self.responses for change in response.changes]

    def wait(self, count: int) -> list[pb.Change]:
        eventually(lambda: len(self.changes) >= count)
        return self.changes

    def raise_error(self) -> None:
        """Raise what ended the call."""
        assert self.error is not None
        raise self.error

    def stop(self) -> str:
        """End the call; gives the token of the last response."""
        self.call.cancel()
        self._thread.join()
        return self.responses[-1].resume_token


@pytest.fixture
def watchers() -> Iterator[list[Watcher]]:
    started: list[Watcher] = []
    yield started
    for watcher in started:
        watcher.stop()


def flag(server: Server, id: str) -> pb.Candidate:
    return server.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_FLAG)).candidate


def told(changes: list[pb.Change]) -> list[tuple[int, str, Any]]:
    return [(change.revision, change.id, change.action) for change in changes]


def test_a_watch_begins_at_once_where_the_store_stands_and_sends_what_comes(server: Server, watchers: Any) -> None:
    flag(server, "c0")
    watcher = Watcher(server)
    watchers.append(watcher)
    assert watcher.responses[0].revision == server.stats().revision and not watcher.responses[0].changes
    second = flag(server, "c1")
    changes = watcher.wait(1)
    assert told(changes) == [(second.revision, "c1", pb.CHANGE_ACTION_FLAG)]
    assert watcher.responses[-1].revision == second.revision
    assert [field.name for field in changes[0].fields] == ["status", "reviewed_at"]
    assert not changes[0].HasField("candidate") and not changes[0].fields[0].after_json


def test_what_was_changed_since_a_revision_comes_first_in_order(server: Server, watchers: Any) -> None:
    start = server.stats().revision
    decided = [flag(server, f"c{n}") for n in range(3)]
    watchers.append(Watcher(server, since_revision=start))
    server.stub.Undo(pb.UndoRequest(id="c0"))
    changes = watchers[0].wait(4)
    assert [change.revision for change in changes[:3]] == [each.revision for each in decided]
    assert changes[3].action == pb.CHANGE_ACTION_UNDO
    watchers.append(Watcher(server, since_revision=decided[1].revision))
    assert [change.id for change in watchers[1].wait(2)] == ["c2", "c0"]


def test_a_watch_that_goes_on_with_its_token_misses_nothing_and_sees_nothing_twice(server: Server) -> None:
    start = server.stats().revision
    seen: list[pb.Change] = []
    token = ""
    for n in range(10):
        watcher = Watcher(server, resume_token=token) if token else Watcher(server, since_revision=start)
        flag(server, f"c{n}")
        watcher.wait(1)
        token = watcher.stop()
        seen += watcher.changes
        if n == 5:
            server.stop()
            server.start()
    assert [change.id for change in seen] == [f"c{n}" for n in range(10)]
    whole = server.stub.ListHistory(pb.ListHistoryRequest(oldest_first=True, since_revision=start, page_size=500))
    assert told(seen) == told(list(whole.changes))


@pytest.mark.files("another program rewrites")
def test_a_revision_with_more_changes_than_a_response_is_named_once_it_is_whole(server: Server, watchers: Any) -> None:
    before = server.stats()
    start = before.revision
    made = [record(f"r{n:04d}", model_response="x" * 5_000) for n in range(400)]
    # In one rename, so that one look finds all of them.
    new = server.candidates.with_name("new")
    new.write_bytes(server.candidates.read_bytes() + "".join(json.dumps(one) + "\n" for one in made).encode())
    new.replace(server.candidates)
    eventually(lambda: server.stats().total == before.total + 400, within=60)
    watchers.append(Watcher(server, since_revision=start, include_candidates=True))
    changes = watchers[0].wait(400)
    assert len({change.id for change in changes}) == 400
    assert all(change.candidate.id == change.id for change in changes)
    with_changes = [response for response in watchers[0].responses if response.changes]
    assert len(with_changes) > 1
    assert {response.revision for response in with_changes[:-1]} == {start}
    assert with_changes[-1].revision == start + 1
    token = with_changes[0].resume_token
    watchers.append(Watcher(server, resume_token=token, include_candidates=True))
    rest = [change.id for change in watchers[1].wait(400 - len(with_changes[0].changes))]
    assert rest == [change.id for change in changes[len(with_changes[0].changes) :]]


def test_a_response_ends_before_it_is_too_large_for_a_client(stopped_server: Server, watchers: Any) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(900)])
    server = stopped_server.start()
    start, longest = server.stats().revision, "\U0001d11e" * 1_000
    decisions = [pb.SubmitRequest(id=f"c{n}", action=pb.ACTION_FLAG, reviewer=longest) for n in range(900)]
    for first in (0, 450):
        server.stub.BatchSubmit(pb.BatchSubmitRequest(decisions=decisions[first : first + 450]))
    watchers.append(Watcher(server, since_revision=start))
    seen = watchers[0].wait(900)
    assert [change.id for change in seen] == [each.id for each in decisions]
    assert max(response.ByteSize() for response in watchers[0].responses) < 3_000_000


def test_a_heartbeat_says_that_everything_has_been_sent(server: Server, watchers: Any) -> None:
    watcher = Watcher(server, heartbeat_seconds=1)
    watchers.append(watcher)
    eventually(lambda: len(watcher.responses) >= 3)
    assert not watcher.changes
    assert {response.revision for response in watcher.responses} == {server.stats().revision}


def test_actions_choose_and_a_heartbeat_goes_on_beside_what_is_passed_over(server: Server, watchers: Any) -> None:
    watcher = Watcher(server, actions=[pb.CHANGE_ACTION_UNDO], heartbeat_seconds=1)
    watchers.append(watcher)
    flagged = flag(server, "c0")
    eventually(lambda: watcher.responses[-1].revision >= flagged.revision)
    assert not watcher.changes
    server.stub.Undo(pb.UndoRequest(id="c0"))
    assert [change.action for change in watcher.wait(1)] == [pb.CHANGE_ACTION_UNDO]


def test_a_filter_chooses_by_the_candidate_as_it_is(server: Server, watchers: Any) -> None:
    watcher = Watcher(server, filter=pb.CandidateFilter(task_types=["t1"]), include_candidates=True)
    watchers.append(watcher)
    for n in range(4):
        flag(server, f"c{n}")
    changes = watcher.wait(2)
    assert [change.id for change in changes] == ["c1", "c3"]
    assert all(change.candidate.status == pb.CANDIDATE_STATUS_MODEL_REJECTED for change in changes)


def test_the_record_comes_with_the_candidate_if_asked(server: Server, watchers: Any) -> None:
    watchers.append(Watcher(server, include_candidates=True, include_record=True))
    flag(server, "c0")
    assert '"status": "model_rejected"' in watchers[0].wait(1)[0].candidate.record_json


def test_a_copy_of_the_store_is_kept_by_a_list_and_a_watch(server: Server, watchers: Any) -> None:
    revision = server.stats().revision
    flag(server, "c0")
    copy = {item.id: item for item in server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500)).items}
    watcher = Watcher(server, since_revision=revision, include_candidates=True)
    watchers.append(watcher)
    server.correct("c1")
    server.stub.Undo(pb.UndoRequest(id="c0"))
    server.ingest(pb.IngestRequest(source="kiwi", task_type="qa", prompt="p", correction="c"))
    for change in watcher.wait(4):
        if change.candidate.revision > copy.get(change.id, pb.Candidate()).revision:
            copy[change.id] = change.candidate
    now = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=500)).items
    assert copy == {item.id: item for item in now}


def test_a_watch_sees_a_commit_soon_after_it(server: Server, watchers: Any) -> None:
    watcher = Watcher(server)
    watchers.append(watcher)
    flag(server, "c0")
    eventually(lambda: watcher.changes)


@pytest.mark.files("another program writes")
def test_a_watch_sees_what_other_programs_write(server: Server, watchers: Any) -> None:
    watcher = Watcher(server, heartbeat_seconds=300)
    watchers.append(watcher)
    with server.candidates.open("a") as file:
        file.write(json.dumps(record("late")) + "\n")
    assert [(each.id, each.action) for each in watcher.wait(1)] == [("late", pb.CHANGE_ACTION_ADD)]


@pytest.mark.files("another program writes")
def test_a_watch_sees_what_was_committed_by_a_process_that_died(server: Server, watchers: Any) -> None:
    (mirror,) = server.processes("mirror")
    watcher = Watcher(server, heartbeat_seconds=300)
    watchers.append(watcher)
    for n in range(5):
        with server.candidates.open("a") as file:
            file.write(json.dumps(record(f"late{n}")) + "\n")
        os.kill(mirror, signal.SIGKILL)
        assert [each.id for each in watcher.wait(n + 1)][-1] == f"late{n}"
        (mirror,) = eventually(lambda: server.processes("mirror"))


def test_many_watches_see_the_same_changes(server: Server, watchers: Any) -> None:
    watchers += [Watcher(server) for _ in range(40)]
    revisions = [flag(server, f"c{n}").revision for n in range(10)]
    for watcher in watchers:
        assert [change.revision for change in watcher.wait(10)] == revisions


def test_a_watch_that_is_not_read_holds_nobody_up(server: Server) -> None:
    start = server.stats().revision
    idle = server.stub.Watch(pb.WatchRequest(since_revision=start, include_candidates=True))
    try:
        for n in range(10):
            flag(server, f"c{n}")
            server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
        assert server.stats().revision == start + 20
    finally:
        idle.cancel()


def test_a_stop_ends_a_watch_so_that_its_caller_goes_elsewhere(server: Server) -> None:
    watcher = Watcher(server)
    server.process.send_signal(signal.SIGTERM)
    eventually(lambda: watcher.error is not None)
    failure = failure_of(watcher.raise_error)
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert server.ended(within=30) == 0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.WatchRequest(since_revision=-1), "since_revision"),
        (pb.WatchRequest(since_revision=2**62), "since_revision"),
        (pb.WatchRequest(heartbeat_seconds=301), "heartbeat_seconds"),
        (pb.WatchRequest(heartbeat_seconds=-1), "heartbeat_seconds"),
        (pb.WatchRequest(actions=[pb.CHANGE_ACTION_UNSPECIFIED]), "actions[0]"),
        (pb.WatchRequest(resume_token="x"), "resume_token"),
        (pb.WatchRequest(resume_token="x", since_revision=1), "since_revision"),
    ],
)
def test_what_no_watch_can_mean_is_refused_by_its_field(quiet_server: Server, request_: Any, field: str) -> None:
    failure = failure_of(lambda: next(quiet_server.stub.Watch(request_)))
    assert failure.reason == "INVALID_FIELD" and failure.fields == [field]


def test_a_token_goes_with_its_filter_and_actions_alone(server: Server) -> None:
    token = Watcher(server).stop()
    for other in ({"actions": [1]}, {"filter": pb.CandidateFilter(sources=["x"])}):
        request = pb.WatchRequest(resume_token=token, **other)
        assert failure_of(lambda r=request: next(server.stub.Watch(r))).fields == ["resume_token"]


@pytest.mark.files("a data directory is restored")
def test_a_token_ahead_of_a_restored_store_is_expired(server: Server, tmp_path: Path) -> None:
    data = server.candidates.parent
    server.stop()
    shutil.copytree(data, tmp_path / "backup")
    server.start()
    flag(server, "c1")
    token = Watcher(server).stop()
    server.stop()
    shutil.rmtree(data / ".avocet")
    shutil.copytree(tmp_path / "backup", data, dirs_exist_ok=True)
    server.start()
    failure = failure_of(lambda: next(server.stub.Watch(pb.WatchRequest(resume_token=token))))
    assert failure.reason == "REVISION_EXPIRED"


def test_a_revision_of_an_earlier_ledger_is_expired(quiet_server: Server) -> None:
    failure = failure_of(lambda: next(quiet_server.stub.Watch(pb.WatchRequest(since_revision=5))))
    assert failure.reason == "REVISION_EXPIRED"
