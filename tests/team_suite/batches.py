"""Many changes in one, and a follower of the history."""

from __future__ import annotations

from typing import Any

import pytest

from avocet_grpc.core import batch, claims, review
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.errors import InvalidField, NotInReview
from avocet_grpc.core.model import (
    Action,
    Decision,
    File,
)
from avocet_grpc.core.watch import WatchQuery, begin_watch, complete, stretch, watch_token
from tests.ledger_suite import candidate_line, correct, import_candidates, newest, undo
from tests.team_suite.support import (
    ALL,
    Fresh,
    changes,
    delete,
    edit,
    sent,
    vars_of,
)


class BatchRules(Fresh):
    """Many changes in one, and a follower of the history."""

    def test_a_change_inside_a_change_has_a_revision_of_its_own_and_is_undone_alone(self, ledger: Any) -> None:
        import_candidates(ledger, 4)
        before = newest(ledger)

        def work(tx: Any) -> list[Any]:
            first = tx.apart(lambda inner: review.submit(inner, Decision("c0", Action.FLAG)))
            with pytest.raises(NotInReview):
                tx.apart(lambda inner: review.submit(inner, Decision("c0", Action.FLAG)))

            def half(inner: Any) -> None:
                inner.put(File.CANDIDATES, candidate_line(99))
                claims.claim(inner, ClaimRequest("ann"))
                raise InvalidField("x", "half-way")

            with pytest.raises(InvalidField):
                tx.apart(half)
            second = tx.apart(lambda inner: review.submit(inner, Decision("c1", Action.FLAG)))
            last = review.submit(tx, Decision("c2", Action.FLAG))
            return [first.revision, second.revision, last.revision]

        assert ledger.write(work).result() == [before + 1, before + 2, before + 3]
        assert newest(ledger) == before + 3
        assert ledger.read(lambda r: r.candidate("c99")) is None
        assert ledger.read(lambda r: r.claims.count(ALL)) == 0
        assert ledger.read(lambda r: r.stats(ALL)).by_status == {"model_rejected": 3, "needs_review": 1}

    def test_a_change_that_is_refused_takes_the_changes_inside_it_back(self, ledger: Any) -> None:
        import_candidates(ledger, 2)
        before = ledger.read(lambda r: r.stats(ALL))

        def work(tx: Any) -> None:
            tx.apart(lambda inner: review.submit(inner, Decision("c0", Action.FLAG)))
            raise InvalidField("x", "after all")

        with pytest.raises(InvalidField):
            ledger.write(work).result()
        assert ledger.read(lambda r: r.stats(ALL)) == before
        assert changes(ledger, id="c0") == [("c0", "import")]

    def test_a_batch_leaves_the_same_ledger_as_single_decisions(self, ledger: Any) -> None:
        import_candidates(ledger, 6)
        decisions = tuple(Decision(f"c{n}", Action.CORRECT, f"better {n}") for n in (0, 1, 0, 2))
        outcomes = ledger.write(lambda tx: batch.submit_all(tx, batch.BatchRequest(decisions, "r"))).result()
        assert [type(one).__name__ for one in outcomes] == ["Decided", "Decided", "NotInReview", "Decided"]
        revisions = [one.revision for one in outcomes if isinstance(one, batch.Decided)]
        assert revisions == [newest(ledger) - 2, newest(ledger) - 1, newest(ledger)]
        assert sent(ledger, newest(ledger))[0] == b"c0\nc1\nc2\n"
        assert sent(ledger, revisions[0])[0] == b"c0\n"
        again = ledger.write(lambda tx: batch.submit_all(tx, batch.BatchRequest(decisions, "r"))).result()
        assert [vars_of(one) for one in again] == [vars_of(one) for one in outcomes]

    def test_a_follower_that_stops_anywhere_sees_each_change_once(self, ledger: Any) -> None:
        start = newest(ledger)
        import_candidates(ledger, 7)
        correct(ledger, "c1")
        undo(ledger, "c1")
        edit(ledger, "c2", note="x")
        delete(ledger, "c3")
        at, seen = complete(start), list[tuple[str, str]]()
        query = WatchQuery()
        while (part := ledger.read(lambda r, at=at: stretch(r, at, 2))).entries:
            seen += [(entry.id, str(entry.action)) for entry in part.entries]
            token = watch_token(query, part.end)
            at = ledger.read(lambda r, t=token: begin_watch(r, WatchQuery(resume_token=t)))
            assert at == part.end
        assert seen == changes(ledger, oldest_first=True)
        assert seen[7:] == [("c1", "correct"), ("c1", "undo"), ("c2", "edit"), ("c3", "remove")]
        assert part.revision == newest(ledger)
