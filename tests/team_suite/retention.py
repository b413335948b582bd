"""What is pruned, what is kept, and for how long."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from avocet_grpc.core import claims, review, snapshots
from avocet_grpc.core.errors import NotInReview, RevisionExpired
from avocet_grpc.core.model import Action, Decision, UndoRequest
from avocet_grpc.core.ports.pruning import Uptime
from avocet_grpc.core.record import load
from avocet_grpc.core.retention import DAY, Keep, prune, raise_floors
from avocet_grpc.core.snapshots import SnapshotRequest
from avocet_grpc.core.watch import WatchQuery, begin_watch, complete
from avocet_grpc.store.sql.schema import TABLES
from tests.ledger_suite import correct, exported, import_candidates, newest, undo
from tests.support import TEAM_FULL
from tests.team_suite.support import (
    Clock,
    Fresh,
    changes,
    claim,
    count,
    delete,
    edit,
    level,
    pruned,
    sent,
)

DECISION = Decision("c1", Action.CORRECT, "better")
UNDO = partial(review.undo, request=UndoRequest("c0"))
SOAK_DAYS, SOAK_ROUNDS = (365, 5) if TEAM_FULL else (40, 1)


def a_day(ledger: Any, day: int) -> None:
    """Changes of all kinds, after which the store is as large as before."""
    for turn in range(SOAK_ROUNDS):
        for n in range(5):
            [held] = claim(ledger)
            correct(ledger, f"c{n}", f"{day} {turn}", request_id=f"{day}-{turn}-{n}", lease_id=held.claim.lease_id)
        for n in range(5):
            undo(ledger, f"c{n}")
        edit(ledger, "c0", note=f"{day} {turn}")
        import_candidates(ledger, 1, id=f"passing-{day}-{turn}")
        delete(ledger, f"passing-{day}-{turn}")
        [held] = claim(ledger, "bob")
        ledger.write(lambda tx, lease=held.claim.lease_id: claims.release(tx, [lease], 3_600, "")).result()
        name = f"s{day}-{turn}"
        ledger.write(lambda tx, name=name: snapshots.create_snapshot(tx, SnapshotRequest(name))).result()
        ledger.write(lambda tx, name=name: snapshots.delete_snapshot(tx, name)).result()


class RetentionRules(Fresh):
    """What is pruned, what is kept, and for how long."""

    def test_a_snapshot_of_the_newest_revision_counts_its_own_examples_beside_a_decision(self, ledger: Any) -> None:
        import_candidates(ledger, 4)
        correct(ledger, "c0")
        for change, approved in ((partial(review.submit, decision=DECISION), 1), (UNDO, 2)):
            revision = newest(ledger)
            request = SnapshotRequest(f"s{approved}", at_revision=revision)
            works = [change, partial(snapshots.create_snapshot, request=request)]
            [_, snapshot] = ledger.write_all(works).result()
            assert (snapshot.example_count, newest(ledger)) == (approved, revision + 1)

    def test_old_history_is_pruned_and_asking_for_it_says_so(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 10)
        correct(ledger, "c0")
        keep = Keep(history=10 * DAY, revisions=0)
        pruned(ledger, keep)
        old = newest(ledger)
        clock.now += 5 * DAY
        correct(ledger, "c1")
        kept = newest(ledger)
        pruned(ledger, keep)
        clock.now += 6 * DAY
        correct(ledger, "c2")
        assert pruned(ledger, keep) == 11
        assert changes(ledger, oldest_first=True) == [("c1", "correct"), ("c2", "correct")]
        assert changes(ledger, since_revision=old, oldest_first=True) == [("c1", "correct"), ("c2", "correct")]
        with pytest.raises(RevisionExpired):
            changes(ledger, since_revision=old - 1)
        with pytest.raises(RevisionExpired):
            ledger.read(lambda r: begin_watch(r, WatchQuery(since_revision=old - 1)))
        assert ledger.read(lambda r: begin_watch(r, WatchQuery(since_revision=kept))) == complete(kept)
        undone = load(undo(ledger, "c0").raw)
        assert undone["status"] == "needs_review" and undone["corrected_response"] is None

    def test_removed_examples_are_pruned_once_no_export_may_need_them(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 6)
        keep = Keep(history=0, revisions=10 * DAY)
        for n in range(4):
            correct(ledger, f"c{n}")
        then = newest(ledger)
        at_first = sent(ledger, then)
        pruned(ledger, keep)
        clock.now += DAY
        for n in range(3):
            undo(ledger, f"c{n}")
        pruned(ledger, keep)
        after_undo = newest(ledger)
        clock.now += 12 * DAY
        assert pruned(ledger, keep) == 0
        assert ledger.read(lambda r: r.first_revision()) == after_undo
        # What is approved lives on, so that `since_revision` is exact however old it is.
        assert exported(ledger, since_revision=then - 1) == ["c3"] and exported(ledger, since_revision=then) == []
        assert sent(ledger, then) == at_first
        clock.now += 5.5 * DAY
        pruned(ledger, keep)
        # No token is good any more, but who continued by the last one may still be sending.
        assert ledger.read(lambda r: r.snapshots.oldest_resumable()) == after_undo
        assert sent(ledger, then) == at_first
        clock.now += DAY
        pruned(ledger, keep)
        assert count(ledger, "examples") == 1

    def test_a_snapshot_keeps_what_its_export_needs_until_7_days_after_its_end(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 9)
        keep = Keep(history=0, revisions=1 * DAY)
        for n in range(4):
            correct(ledger, f"c{n}")
        made = ledger.write(lambda tx: snapshots.create_snapshot(tx, SnapshotRequest("v1"))).result()
        assert made.example_count == 4
        before = sent(ledger, made.revision)
        for n in range(4):
            undo(ledger, f"c{n}")
        correct(ledger, "c8")
        undo(ledger, "c8")
        for _ in range(40):
            clock.now += DAY
            pruned(ledger, keep)
        assert count(ledger, "examples") == 4
        assert sent(ledger, made.revision) == before
        ledger.write(lambda tx: snapshots.delete_snapshot(tx, "v1")).result()
        clock.now += 6 * DAY
        pruned(ledger, keep)
        assert sent(ledger, made.revision) == before
        assert ledger.read(lambda r: r.snapshots.pins(made.revision))
        clock.now += 1.5 * DAY
        pruned(ledger, keep)
        assert not ledger.read(lambda r: r.snapshots.pins(made.revision))
        assert sent(ledger, made.revision) == before
        clock.now += 0.5 * DAY
        pruned(ledger, keep)
        assert count(ledger, "examples") == count(ledger, "snapshots") == 0
        with pytest.raises(RevisionExpired):
            request = SnapshotRequest("v2", at_revision=made.revision)
            ledger.write(lambda tx: snapshots.create_snapshot(tx, request)).result()

    def test_tombstones_and_past_versions_go_once_the_files_have_them(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 6)
        keep = Keep(history=0, revisions=1 * DAY)
        correct(ledger, "c0")
        undo(ledger, "c0")
        delete(ledger, "c1")
        pruned(ledger, keep)
        clock.now += 30 * DAY
        correct(ledger, "c2")
        tombstones = "records WHERE digest IS NULL"
        assert count(ledger, tombstones) == 2 and count(ledger, "past") > 2
        pruned(ledger, keep)
        assert count(ledger, tombstones) == 2
        level(ledger)
        pruned(ledger, keep)
        assert count(ledger, tombstones) == 0 and count(ledger, "past") == 1
        assert ledger.read(lambda r: r.candidate("c1")) is None

    def test_request_ids_are_kept_for_7_days(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 2)
        first = correct(ledger, "c0", request_id="r")
        clock.now += 6.9 * DAY
        pruned(ledger, Keep())
        assert correct(ledger, "c0", request_id="r") == first
        clock.now += 0.2 * DAY
        pruned(ledger, Keep())
        with pytest.raises(NotInReview):
            correct(ledger, "c0", request_id="r")

    def test_0_keeps_all(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 4)
        correct(ledger, "c0")
        undo(ledger, "c0")
        level(ledger)
        for _ in range(20):
            clock.now += 100 * DAY
            pruned(ledger, Keep(history=0, revisions=0))
        assert len(changes(ledger)) == 6 and count(ledger, "examples") == 1

    def test_the_ages_of_revisions_are_noted_while_something_changes_alone(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 2)
        correct(ledger, "c0")
        for keep in (Keep(history=0, revisions=0), Keep(history=0), Keep(revisions=0)):
            for _ in range(50):
                clock.now += 400 * DAY
                pruned(ledger, keep)
        assert count(ledger, "moments") == 1
        correct(ledger, "c1")
        pruned(ledger, Keep())
        clock.now += DAY
        noted = newest(ledger)
        undo(ledger, "c1")
        pruned(ledger, Keep())
        clock.now += 364.5 * DAY
        pruned(ledger, Keep())
        assert ledger.read(lambda r: r.log.floor()) == noted

    @pytest.mark.parametrize("step", [400 * DAY, -400 * DAY, DAY, -DAY])
    def test_a_step_of_the_clock_prunes_nothing_early_and_holds_pruning_up_for_no_longer_than_is_kept(
        self, ledger: Any, clock: Clock, step: float
    ) -> None:
        import_candidates(ledger, 4)
        keep, ran = Keep(history=10 * DAY, revisions=10 * DAY), 0.0

        def passes(days: float, step: float = 0) -> int:
            nonlocal ran
            ran += days * DAY
            clock.now += days * DAY + step
            return pruned(ledger, keep, Uptime(7, ran))

        passes(0)
        made = ledger.write(lambda tx: snapshots.create_snapshot(tx, SnapshotRequest("v1"))).result()
        correct(ledger, "c0", request_id="r")
        ledger.write(lambda tx: snapshots.delete_snapshot(tx, made.name)).result()
        passes(0.001)
        undo(ledger, "c0")
        for days in (0.001, 3, 3):
            assert passes(days, step) == 0
            step = -step
        assert count(ledger, "history") == 6 and count(ledger, "requests") == 1 and count(ledger, "snapshots") == 1
        # All is at most three steps longer kept, one of which ended another.
        for _ in range(10):
            correct(ledger, "c1", f"{ran}")
            undo(ledger, "c1")
            passes(3)
        assert count(ledger, "requests") == count(ledger, "snapshots") == 0
        assert count(ledger, "history") < 12 and count(ledger, "moments") < 12

    def test_a_step_of_the_clock_between_the_raising_of_the_floors_and_the_pruning_forgets_nothing(
        self, ledger: Any, clock: Clock
    ) -> None:
        import_candidates(ledger, 1)
        correct(ledger, "c0", request_id="r")
        ledger.write(lambda tx: raise_floors(tx, Keep(), Uptime(7, 100))).result()
        clock.now += 400 * DAY
        assert ledger.write(lambda tx: prune(tx, 100, Uptime(7, 100))).result() == 0
        assert count(ledger, "requests") == 1

    def test_a_clock_that_was_ahead_before_a_restart_of_the_machine_holds_no_pruning_up(
        self, ledger: Any, clock: Clock
    ) -> None:
        import_candidates(ledger, 2)
        keep = Keep(history=10 * DAY, revisions=10 * DAY)
        correct(ledger, "c0", request_id="r")
        pruned(ledger, keep, Uptime(7, 100))
        clock.now -= 400 * DAY
        for days in range(0, 40, 4):
            correct(ledger, "c1", f"{days}")
            undo(ledger, "c1")
            pruned(ledger, keep, Uptime(8, days * DAY))
            clock.now += 4 * DAY
        assert count(ledger, "requests") == 0 and count(ledger, "history") < 10

    def test_a_ledger_stops_growing_when_the_store_does_not_grow(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 5)
        keep = Keep(history=3 * DAY, revisions=2 * DAY)
        tables = [table.split()[2] for table in TABLES if table.startswith("CREATE TABLE")]
        # One more for each tenfold of the records that there ever were.
        tables.remove("dictionaries")
        sizes, pages = list[dict[str, int]](), list[int]()
        for day in range(SOAK_DAYS):
            clock.now += DAY
            a_day(ledger, day)
            level(ledger)
            pruned(ledger, keep)
            sizes.append({table: count(ledger, table) for table in tables})
            pages.append(self.pages(ledger))
        print(f"{SOAK_DAYS} days of {SOAK_ROUNDS} rounds: {pages[-1]} pages, {sizes[-1]}")
        assert sizes[-1] == sizes[-10] == sizes[SOAK_DAYS // 2]
        half = SOAK_DAYS // 2
        assert max(pages[half:]) <= 1.5 * max(pages[:half])
