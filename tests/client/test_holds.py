"""Claims that a block holds: renewed, told when lost, released on leaving."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from avocet_client import AsyncCorrectionsClient, Claimed, ClaimLost, CorrectionsClient, NotInReview, RevisionMismatch
from avocet_client.calls import Call
from avocet_client.claim_state import ClaimState
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.drivers import wait_for
from tests.client.fake import FakeServer
from tests.support import Server, eventually, record, write_records

SHORTEST = 10
"""The shortest lease that a server gives, in seconds."""


@pytest.fixture
def stopped_server(stopped_server: Server) -> Server:
    """With the candidates `a`, `b` and `c` in review."""
    write_records(stopped_server.candidates, [record(id) for id in "abc"])
    return stopped_server


def claimed_ids(server: Server) -> list[str]:
    request = pb.QueueRequest(claims=pb.CLAIM_STATE_CLAIMED)
    return [item.id for item in server.stub.Queue(request).items]


def test_a_block_holds_its_claims_and_releases_them_on_leaving(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim", limit=2) as held:
        assert [claim.candidate.id for claim in held] == ["a", "b"] == claimed_ids(server)
        assert [claim.reviewer for claim in held] == ["kim", "kim"]
        with client.hold(reviewer="ann", limit=5) as others:
            assert [claim.candidate.id for claim in others] == ["c"]
            with client.hold(reviewer="lee") as none:
                assert len(none) == 0 and not none
    assert claimed_ids(server) == []
    assert held.lost == []


def test_an_exception_in_the_block_releases_the_claims_and_goes_on(client: Any, server: Server) -> None:
    with pytest.raises(ZeroDivisionError), client.hold(reviewer="kim", limit=2):
        assert claimed_ids(server) == ["a", "b"]
        raise ZeroDivisionError
    assert claimed_ids(server) == []


def test_a_decision_carries_the_lease_and_ends_the_claim(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim", limit=2) as held:
        with pytest.raises(Claimed) as caught:
            client.submit("a", action="flag", reviewer="ann")
        assert caught.value.metadata["reviewer"] == "kim"
        with pytest.raises(RevisionMismatch):
            held[0].submit(action="discard", expected_revision=1)
        assert not held[0].lost, "a refusal for another reason leaves the claim as it is"
        decided = held[0].submit(action="correct", corrected_response="better", failure_category="wrong_answer")
        assert (decided.corrected_response, decided.reviewed_by) == ("better", "kim")
        assert claimed_ids(server) == ["b"]
        with pytest.raises(NotInReview):
            held[0].submit(action="discard")
    assert claimed_ids(server) == []
    assert server.stats().by_status["approved"] == 1


def test_what_was_not_decided_is_postponed_for_its_reviewer(client: Any) -> None:
    with client.hold(reviewer="kim", postpone_seconds=600) as held:
        assert held[0].candidate.id == "a"
    with client.hold(reviewer="kim") as held:
        assert held[0].candidate.id == "b"
    with client.hold(reviewer="ann") as held:
        assert held[0].candidate.id == "a"


def test_one_claim_is_released_or_postponed_while_the_block_goes_on(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim", limit=2) as held:
        held[0].release(postpone_seconds=600)
        assert claimed_ids(server) == ["b"] and held.lost == []
        with client.hold(reviewer="kim", limit=2) as more:
            assert [claim.candidate.id for claim in more] == ["c"]
            more[0].release()
            with client.hold(reviewer="kim") as again:
                assert again[0].candidate.id == "c"


def test_an_interrupt_while_the_claim_is_under_way_gives_back_what_the_service_handed_out(server: Server) -> None:
    class Interrupted(CorrectionsClient):
        """Ctrl-C comes after the service has claimed, and before its answer is read."""

        done = False

        def _carry_out(self, call: Call[Any]) -> Any:
            answer = super()._carry_out(call)
            if call.method == "Claim" and not self.done:
                self.done = True
                assert claimed_ids(server) == ["a", "b"]
                raise KeyboardInterrupt
            return answer

    with (
        Interrupted(server.address) as client,
        pytest.raises(KeyboardInterrupt),
        client.hold(reviewer="kim", limit=2),
    ):
        raise AssertionError("the block never begins")
    assert claimed_ids(server) == []


def test_a_claim_that_somebody_else_took_is_lost_when_it_is_decided(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim", limit=2) as held:
        server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[held[0].lease_id]))
        server.stub.Claim(pb.ClaimRequest(reviewer="ann"))
        assert not held[0].lost
        with pytest.raises(ClaimLost):
            held[0].submit(action="flag")
        assert [claim.lease_id for claim in held.lost] == [held[0].lease_id]
        assert not held[1].lost
    assert claimed_ids(server) == ["a"], "ann's claim is none of this block's"


def test_a_renewal_tells_that_a_claim_was_lost(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim", limit=2, lease_seconds=SHORTEST) as held:
        server.stub.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=[held[1].lease_id]))
        eventually(lambda: held[1].lost, within=30)
        assert not held[0].lost


def test_claims_outlive_their_lease_and_a_killed_server_while_the_block_lasts(client: Any, server: Server) -> None:
    def expiry() -> float:
        (item,) = server.stub.Queue(pb.QueueRequest(claims=pb.CLAIM_STATE_CLAIMED)).items
        return float(item.claim.expires_at.ToMilliseconds()) / 1_000

    server.listen = server.address
    with client.hold(reviewer="kim", lease_seconds=SHORTEST) as held:
        first = expiry()
        server.kill()
        server.start()
        eventually(lambda: expiry() > first + SHORTEST, within=60)
        assert not held[0].lost
        held[0].submit(action="flag")
    assert server.stats().by_status["model_rejected"] == 1


def test_leaving_while_the_server_is_away_raises_the_blocks_own_error_alone(client: Any, server: Server) -> None:
    with client.hold(reviewer="kim"):
        server.kill()
    server.listen = server.address
    server.start()
    wait_for(client)
    with pytest.raises(ZeroDivisionError), client.hold(reviewer="kim"):
        server.kill()
        raise ZeroDivisionError


def test_a_cancelled_task_releases_its_claims(server: Server) -> None:
    async def review(client: AsyncCorrectionsClient, claimed: asyncio.Event) -> None:
        async with client.hold(reviewer="kim", limit=2):
            claimed.set()
            await asyncio.sleep(600)

    async def cancelled() -> None:
        async with AsyncCorrectionsClient(server.address) as client:
            claimed = asyncio.Event()
            task = asyncio.create_task(review(client, claimed))
            await claimed.wait()
            assert claimed_ids(server) == ["a", "b"]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert claimed_ids(server) == []
            assert {each.get_name() for each in asyncio.all_tasks()} & {"avocet-claims"} == set()

    asyncio.run(cancelled())


def test_a_task_that_is_cancelled_while_it_claims_gives_back_what_comes_late() -> None:
    cancelled = threading.Event()

    def behave(name: str, request: Any, context: Any) -> Any:
        if name == "ReleaseClaims":
            return pb.ReleaseClaimsResponse(released=1)
        cancelled.wait(20)
        return pb.ClaimResponse(claims=[pb.Claim(lease_id="late")])

    async def review(client: AsyncCorrectionsClient) -> None:
        async with client.hold(reviewer="kim"):
            raise AssertionError("the block never begins")

    async def main(fake: FakeServer) -> None:
        async with AsyncCorrectionsClient(fake.address) as client:
            task = asyncio.create_task(review(client))
            while not fake.attempts["Claim"]:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled.set()
            while not fake.attempts["ReleaseClaims"]:
                await asyncio.sleep(0.01)

    fake = FakeServer(behave)
    asyncio.run(main(fake))
    fake.close()
    assert list(fake.requests[-1].lease_ids) == ["late"]


def test_leases_that_could_not_be_renewed_in_time_count_as_lost() -> None:
    state = ClaimState(60)
    state.hold([pb.Claim(lease_id="x"), pb.Claim(lease_id="y")], 100.0)
    assert state.seconds_until_renewal(100.0) == 20
    assert state.renewal(120.0) == ["x", "y"]
    state.failed(130.0)
    assert state.seconds_until_renewal(130.0) == 1
    state.settle("y")
    assert state.renewal(159.9) == ["x"] and state.lost == []
    state.failed(159.9)
    assert state.seconds_until_renewal(159.9) == pytest.approx(0.1)
    assert state.renewal(160.0) == [] and state.lost == ["x"]


def test_a_renewal_that_crosses_a_decision_loses_nothing() -> None:
    state = ClaimState(0)
    state.hold([pb.Claim(lease_id="x")], 0.0)
    assert state.seconds_until_renewal(0.0) == 200
    state.renewed(pb.RenewClaimsResponse(lost=["x"]), 200.0)
    state.settle("x")
    assert (state.live, state.lost) == ([], [])
