"""Two workers answer as one service: what one acknowledged is in the next answer of the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.support import Server, record, write_records

pytestmark = pytest.mark.both_engines

COUNT = 60
MOST_CHANNELS = 60


@pytest.fixture
def several(stopped_server: Server) -> Server:
    stopped_server.environment = {"AVOCET_WORKERS": "2"}
    write_records(stopped_server.candidates, [record(f"c{n:02d}") for n in range(COUNT)])
    return stopped_server.start()


@contextmanager
def both(server: Server) -> Iterator[list[corrections_pb2_grpc.CorrectionsServiceStub]]:
    """A stub for each worker: the kernel deals connections out, and `started_at` tells who answers."""
    found: dict[tuple[int, int], corrections_pb2_grpc.CorrectionsServiceStub] = {}
    channels: list[grpc.Channel] = []
    try:
        while len(found) < 2:
            assert len(channels) < MOST_CHANNELS, "one worker alone answers"
            channels.append(grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]))
            stub = corrections_pb2_grpc.CorrectionsServiceStub(channels[-1])
            started = stub.GetVersion(pb.GetVersionRequest()).started_at
            found.setdefault((started.seconds, started.nanos), stub)
        yield list(found.values())
    finally:
        for channel in channels:
            channel.close()


def ids(stub: corrections_pb2_grpc.CorrectionsServiceStub) -> list[str]:
    return [one.id for one in stub.Queue(pb.QueueRequest(per_page=500)).items]


def test_a_decision_at_one_worker_is_in_the_next_queue_of_the_other(several: Server) -> None:
    with both(several) as (one, other):
        for number in range(COUNT // 2):
            first, second = (one, other) if number % 2 else (other, one)
            decided = first.Submit(pb.SubmitRequest(id=f"c{number:02d}", action=pb.ACTION_DISCARD)).candidate
            assert ids(second) == [f"c{n:02d}" for n in range(number + 1, COUNT)]
            assert second.Stats(pb.StatsRequest()).revision >= decided.revision
            assert second.GetCandidate(pb.GetCandidateRequest(id=decided.id)).candidate == decided


def test_pages_and_revisions_of_two_workers_agree(several: Server) -> None:
    with both(several) as (one, other):
        token, seen, revisions = "", list[str](), list[int]()
        for number in range(COUNT // 10):
            first, second = (one, other) if number % 2 else (other, one)
            page = first.Queue(pb.QueueRequest(per_page=10, page_token=token))
            again = second.Queue(pb.QueueRequest(per_page=10, page_token=token))
            assert list(page.items) == list(again.items) and page.total == again.total
            seen += [item.id for item in page.items]
            token = page.next_page_token
            # What leaves the queue meanwhile moves no page, whoever served it.
            decided = second.Submit(pb.SubmitRequest(id=seen[-1], action=pb.ACTION_FLAG)).candidate
            revisions.append(decided.revision)
        assert seen == [f"c{n:02d}" for n in range(COUNT)] and token == ""
        assert revisions == sorted(set(revisions))
        made = [stub.Stats(pb.StatsRequest()) for stub in (one, other)]
        assert made[0] == made[1]


def test_a_watch_at_one_worker_sees_what_the_other_commits(several: Server) -> None:
    with both(several) as (one, other):
        watches = [stub.Watch(pb.WatchRequest(), timeout=25) for stub in (one, other)]
        for watch in watches:
            next(watch)
        for number in range(10):
            stub = (one, other)[number % 2]
            decided = stub.Submit(pb.SubmitRequest(id=f"c{number:02d}", action=pb.ACTION_FLAG)).candidate
            for watch in watches:
                # A heartbeat may come between.
                seen = next(response for response in watch if response.changes).changes
                assert [(change.id, change.revision) for change in seen] == [(decided.id, decided.revision)]
        for watch in watches:
            watch.cancel()


def test_what_one_worker_gave_is_good_at_the_other(several: Server) -> None:
    with both(several) as (one, other):
        claim = pb.ClaimRequest(reviewer="ann", limit=2, request_id="r")
        taken = list(one.Claim(claim).claims)
        assert list(other.Claim(claim).claims) == taken
        leases = [each.lease_id for each in taken]
        assert len(other.RenewClaims(pb.RenewClaimsRequest(lease_ids=leases)).claims) == 2
        decision = pb.SubmitRequest(id="c00", action=pb.ACTION_CORRECT, corrected_response="better", lease_id=leases[0])
        assert other.Submit(decision).candidate.reviewed_by == "ann"
        assert list(one.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=leases)).lost) == leases[:1]
        other.Submit(pb.SubmitRequest(id="c02", action=pb.ACTION_CORRECT, corrected_response="better"))
        made = one.CreateSnapshot(pb.CreateSnapshotRequest(name="s")).snapshot
        assert other.GetSnapshot(pb.GetSnapshotRequest(name="s")).snapshot == made
        for first, second in ((one, other), (other, one)):
            export = first.StreamExport(pb.StreamExportRequest(snapshot="s", batch_size=1))
            token = next(export).resume_token
            export.cancel()
            rest = second.StreamExport(pb.StreamExportRequest(snapshot="s", resume_token=token))
            assert [each.id for response in rest for each in response.examples] == ["c02"]
            listed = first.ListCandidates(pb.ListCandidatesRequest(page_size=2)).next_page_token
            page = second.ListCandidates(pb.ListCandidatesRequest(page_size=2, page_token=listed))
            assert [item.id for item in page.items] == ["c02", "c03"]
            changes = first.ListHistory(pb.ListHistoryRequest(page_size=1)).next_page_token
            (change,) = second.ListHistory(pb.ListHistoryRequest(page_token=changes)).changes
            assert (change.id, change.action) == ("c00", pb.CHANGE_ACTION_CORRECT)
            watch = first.Watch(pb.WatchRequest(since_revision=made.revision - 1))
            next(watch)
            assert [change.id for change in next(watch).changes] == ["c02"]
            watch.cancel()
