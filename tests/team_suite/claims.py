"""Claims: taken, renewed, released, ended, and seen by the queue."""

from __future__ import annotations

from typing import Any

import pytest

from avocet_grpc.core import claims, review
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.errors import Claimed, ClaimLost, InvalidField
from avocet_grpc.core.model import (
    Action,
    Decision,
    Order,
    UndoRequest,
)
from avocet_grpc.core.record import load
from tests.ledger_suite import correct, import_candidates, undo
from tests.team_suite.support import (
    ALL,
    Clock,
    Fresh,
    claim,
    claims_in,
    count,
    decide,
    delete,
    edit,
    holders,
    ids,
    widest,
)


class ClaimRules(Fresh):
    """Claims: taken, renewed, released, ended, and seen by the queue."""

    def test_a_claim_ends_at_its_time_and_never_lives_again(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 3)
        [held] = claim(ledger, lease_seconds=60)
        assert held.claim.expires_at == clock.now + 60
        clock.now += 59.9
        assert holders(ledger, "c0") == ["ann"]
        clock.now += 0.2
        assert holders(ledger, "c0") == [None]
        lease = held.claim.lease_id
        assert ledger.write(lambda tx: claims.renew(tx, [lease], 600, "")).result().lost == [lease]
        assert ledger.write(lambda tx: claims.release(tx, [lease], 0, "")).result().lost == [lease]
        with pytest.raises(ClaimLost):
            decide(ledger, "c0", lease_id=lease)
        assert ids(claim(ledger, "bob")) == ["c0"]
        with pytest.raises(ClaimLost):
            decide(ledger, "c0", lease_id=lease)

    def test_a_renewed_claim_lives_on(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 1)
        [held] = claim(ledger, lease_seconds=60)
        for _ in range(5):
            clock.now += 50
            leases = ledger.write(lambda tx: claims.renew(tx, [held.claim.lease_id], 60, "")).result()
            assert [one.expires_at for one in leases.living] == [clock.now + 60]
        assert holders(ledger, "c0") == ["ann"]

    def test_a_lease_is_worth_nothing_to_another_token(self, ledger: Any) -> None:
        import_candidates(ledger, 1)
        [held] = claim(ledger, principal="token-a")
        lease = held.claim.lease_id
        assert ledger.write(lambda tx: claims.renew(tx, [lease], 60, "token-b")).result().lost == [lease]
        assert ledger.write(lambda tx: claims.release(tx, [lease], 0, "token-b")).result().lost == [lease]
        with pytest.raises(ClaimLost):
            decide(ledger, "c0", lease_id=lease, principal="token-b")
        assert decide(ledger, "c0", lease_id=lease, principal="token-a")

    @pytest.mark.parametrize("leave", [decide, correct, delete])
    def test_a_claim_ends_when_its_candidate_leaves_review_in_any_way(self, ledger: Any, leave: Any) -> None:
        import_candidates(ledger, 2)
        claim(ledger)
        more = {} if leave is delete else {"reviewer": "ann"}
        leave(ledger, "c0", **more)
        assert ledger.read(lambda r: r.claims.count(ALL)) == 0
        if leave is not delete:
            undo(ledger, "c0")
            assert holders(ledger, "c0") == [None]
            assert ids(claim(ledger, "bob")) == ["c0"]

    def test_an_edit_of_another_program_ends_a_claim_only_if_it_takes_the_candidate_out_of_review(
        self, ledger: Any
    ) -> None:
        import_candidates(ledger, 2)
        claim(ledger, limit=2)
        edit(ledger, "c0", model_response="another")
        assert holders(ledger, "c0", "c1") == ["ann", "ann"]
        edit(ledger, "c1", status="discarded")
        edit(ledger, "c1", status="needs_review", note="back")
        assert holders(ledger, "c0", "c1") == ["ann", None]

    def test_works_of_one_commit_see_each_other_s_claims(self, ledger: Any) -> None:
        import_candidates(ledger, 3)
        claim(ledger)
        works: list[Any] = [
            lambda tx: review.submit(tx, Decision("c0", Action.FLAG, reviewer="bob")),
            lambda tx: review.submit(tx, Decision("c0", Action.FLAG, reviewer="ann")),
            lambda tx: review.undo(tx, UndoRequest("c0")),
            lambda tx: review.submit(tx, Decision("c0", Action.FLAG, reviewer="bob")),
            lambda tx: review.undo(tx, UndoRequest("c0")),
            lambda tx: claims.claim(tx, ClaimRequest("cid")),
            lambda tx: review.submit(tx, Decision("c0", Action.FLAG, reviewer="bob")),
        ]
        outcomes = ledger.write_all(works).result()
        assert [type(one) for one in outcomes if isinstance(one, Exception)] == [Claimed, Claimed]
        assert isinstance(outcomes[0], Claimed) and isinstance(outcomes[6], Claimed)
        assert holders(ledger, "c0") == ["cid"]

    def test_a_refused_change_takes_its_claims_back(self, ledger: Any) -> None:
        import_candidates(ledger, 2)

        def half(tx: Any) -> None:
            claims.claim(tx, ClaimRequest("ann", 2))
            raise InvalidField("x", "half-way")

        with pytest.raises(InvalidField):
            ledger.write(half).result()
        assert ledger.read(lambda r: r.claims.count(ALL)) == 0

    def test_postponements_end_by_their_time_and_the_first_are_forgotten(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 6)
        keys = [one.candidate.key for one in claim(ledger, limit=5)]
        leases = ledger.read(lambda r: [one.lease_id for one in r.claims.holders(keys).values()])
        ledger.write(lambda tx: claims.release(tx, leases, 100, "")).result()
        assert ids(claim(ledger, limit=9)) == ["c5"]
        for n, key in enumerate(keys):
            ledger.write(lambda tx, n=n, key=key: tx.claims.postpone("bob", [key], clock.now + 50 + n, 3)).result()
        assert ids(claim(ledger, "bob", 9)) == ["c0", "c1"]
        clock.now += 1_000
        assert ids(claim(ledger, limit=9)) == [f"c{n}" for n in range(6)]
        assert count(ledger, "postponed") == 0

    def test_the_longest_names_of_reviewers_are_kept_apart(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 6)
        longest = widest("ann")
        like = longest[:-1] + "x"
        [first, _] = claim(ledger, longest, 2)
        claim(ledger, like)
        assert holders(ledger, "c0", "c1", "c2", "c3") == [longest, longest, like, None]
        assert [ledger.read(lambda r, n=n: r.claims.held_by(n)) for n in (longest, like, longest[:500])] == [2, 1, 0]
        ledger.write(lambda tx: claims.release(tx, [first.claim.lease_id], 100, "")).result()
        assert ids(claim(ledger, longest)) == ["c3"]
        assert ids(claim(ledger, like)) == ["c0"]
        decide(ledger, "c1", reviewer=longest)
        with pytest.raises(Claimed) as found:
            decide(ledger, "c2", reviewer=longest)
        assert found.value.reviewer == like
        clock.now += 1_000
        assert ids(claim(ledger, longest, 9)) == ["c0", "c2", "c3", "c4", "c5"]
        assert count(ledger, "postponed") == 0

    def test_ended_claims_are_swept(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 300)
        for _ in range(5):
            claim(ledger, limit=50, lease_seconds=10)
        clock.now += 11
        for _ in range(3):
            claim(ledger, "bob")
        assert count(ledger, "claims") == 3

    def test_the_queue_by_state_of_claim_pages_as_the_queue_does(self, ledger: Any) -> None:
        import_candidates(ledger, 12)
        claim(ledger, limit=3, order=Order.QUALITY_DESC)
        claim(ledger, "bob", limit=4)

        def page(reader: Any, state: Any, order: Order) -> list[str]:
            found, after = list[str](), None
            while items := reader.claims.queue(state, ALL, order, after, 0, 2):
                found += [load(item.candidate.raw)["id"] for item in items]
                after = items[-1].position
            assert len(found) == reader.claims.queue_total(state, ALL)
            return found

        for order in (Order.FILE, Order.TIMESTAMP_DESC, Order.QUALITY):
            whole = ledger.read(lambda r, o=order: [load(i.candidate.raw)["id"] for i in r.queue(ALL, o, None, 0, 99)])
            parts = {
                state: ledger.read(lambda r, s=state, o=order: page(r, claims_in(s), o))
                for state in ("unclaimed", "claimed", "mine")
            }
            assert sorted(parts["claimed"] + parts["unclaimed"]) == sorted(whole)
            assert [id for id in whole if id in parts["claimed"]] == parts["claimed"]
            assert len(parts["claimed"]) == 7 and len(parts["mine"]) == 4
