"""What every ledger engine must do for a team of reviewers: claims, lists, history, snapshots, pruning.

A subclass gives `open_ledger`, and each test gets a fresh ledger and a clock that it sets. Each work runs twice, and
only the second run counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from avocet_grpc.core import batch, claims, imports, review, snapshots
from avocet_grpc.core.claims import ClaimRequest
from avocet_grpc.core.errors import Claimed, ClaimLost, InvalidField, NotInReview, RevisionExpired
from avocet_grpc.core.history import HistoryQuery, scan
from avocet_grpc.core.model import (
    Action,
    CandidateFilter,
    Decision,
    ExportSelection,
    File,
    Order,
    ParsedLine,
    UndoRequest,
)
from avocet_grpc.core.ports.mirror import Cursor, Edit, Expected, FileReport, Verdict
from avocet_grpc.core.record import content_digest, load, parse
from avocet_grpc.core.retention import DAY, Keep, prune, raise_floors
from avocet_grpc.core.snapshots import SnapshotRequest
from avocet_grpc.core.watch import WatchQuery, begin_watch, complete, stretch, watch_token
from tests.ledger_suite import candidate_line, correct, encode, import_candidates, newest, run_each_work_twice, undo

ALL = CandidateFilter()


class Clock:
    """Unix time in seconds, as the test sets it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def claim(ledger: Any, reviewer: str = "ann", limit: int = 1, **more: Any) -> list[claims.Held]:
    held: list[claims.Held] = ledger.write(lambda tx: claims.claim(tx, ClaimRequest(reviewer, limit, **more))).result()
    return held


def ids(held: list[claims.Held]) -> list[str]:
    return [load(one.candidate.raw)["id"] for one in held]


def holders(ledger: Any, *names: str) -> list[str | None]:
    """Who holds these candidates."""

    def read(reader: Any) -> list[str | None]:
        keys = [reader.candidate(id).key for id in names]
        found = reader.claims.holders(keys)
        return [found[key].reviewer if key in found else None for key in keys]

    asked: list[str | None] = ledger.read(read)
    return asked


def decide(ledger: Any, id: str, **more: Any) -> Any:
    return ledger.write(lambda tx: review.submit(tx, Decision(id, Action.DISCARD, **more))).result()


def edit(ledger: Any, id: str, **changes: Any) -> None:
    """Another program changes a record of the candidates file."""
    mirror, candidate = ledger.mirror(), ledger.read(lambda r: r.candidate(id))
    record = load(candidate.raw)
    line = parse(json.dumps(record | changes).encode())
    expected = Expected(content_digest(record), candidate.revision)
    [outcome] = mirror.accept_edits(mirror.take_over(), File.CANDIDATES, [Edit(id, expected, line)], trusted=False)
    assert outcome.verdict is Verdict.EDITED


def delete(ledger: Any, id: str) -> None:
    """Another program removes a record of the candidates file."""
    mirror, candidate = ledger.mirror(), ledger.read(lambda r: r.candidate(id))
    expected = Expected(content_digest(load(candidate.raw)), candidate.revision)
    [outcome] = mirror.accept_deletions(mirror.take_over(), File.CANDIDATES, [(id, expected)])
    assert outcome.verdict is Verdict.DELETED


def level(ledger: Any) -> None:
    """The mirror has brought everything to both files."""
    mirror = ledger.mirror()
    epoch, cursor = mirror.take_over(), Cursor(newest(ledger), 2**62)
    for file in File:
        mirror.set_report(epoch, file, FileReport(cursor, 0, 0))


def pruned(ledger: Any, keep: Keep) -> int:
    """Raise the floors and prune all that can be. Returns how many rows went."""
    ledger.write(lambda tx: raise_floors(tx, keep)).result()
    total = 0
    while gone := ledger.write(lambda tx: prune(tx, 3)).result():
        total += gone
    return total


def changes(ledger: Any, **asked: Any) -> list[tuple[str, str]]:
    def read(reader: Any) -> list[tuple[str, str]]:
        query = HistoryQuery(**asked)
        return [(one.entry.id, str(one.entry.action)) for one in scan(reader, query) if one.entry is not None]

    found: list[tuple[str, str]] = ledger.read(read)
    return found


def sent(ledger: Any, revision: int) -> list[bytes]:
    def read(reader: Any) -> list[bytes]:
        found = reader.export_batch(ExportSelection(revision), 0, 1_000, 1 << 30)
        return [found.ids, found.encoded] if found else []

    exported: list[bytes] = ledger.read(read)
    return exported


def count(ledger: Any, table: str) -> int:
    with ledger.session() as session:
        n: int = session.number(f"SELECT count(*) FROM {table}")
        return n


class TeamSuite:
    """Every rule of `core.ports.team` that a caller can see."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def ledger(self, tmp_path: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        runs = run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path, clock)
        yield ledger
        ledger.close()
        assert runs

    def open_ledger(self, tmp_path: Any, clock: Callable[[], float]) -> Any:
        raise NotImplementedError

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
        assert sent(ledger, then) == at_first
        clock.now += 5.5 * DAY
        pruned(ledger, keep)
        assert count(ledger, "examples") == 1
        assert ledger.read(lambda r: r.snapshots.oldest_resumable()) == after_undo

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
        clock.now += 2 * DAY
        pruned(ledger, keep)
        assert count(ledger, "examples") == count(ledger, "snapshots") == 0
        assert not ledger.read(lambda r: r.snapshots.pins(made.revision))
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

    def test_a_ledger_stops_growing_when_the_store_does_not_grow(self, ledger: Any, clock: Clock) -> None:
        import_candidates(ledger, 5)
        keep = Keep(history=3 * DAY, revisions=2 * DAY)
        tables = ("history", "examples", "past", "requests", "moments", "claims", "records")
        sizes: list[list[int]] = []
        for day in range(40):
            clock.now += DAY
            for n in range(5):
                [held] = claim(ledger)
                correct(ledger, f"c{n}", f"day {day}", request_id=f"{day}-{n}", lease_id=held.claim.lease_id)
            for n in range(5):
                undo(ledger, f"c{n}")
            level(ledger)
            pruned(ledger, keep)
            sizes.append([count(ledger, table) for table in tables])
        assert sizes[-1] == sizes[-10] == sizes[-20]


def claims_in(state: str) -> Any:
    from avocet_grpc.core.ports.claims import ClaimState, HeldBy

    return HeldBy(ClaimState(state), "bob")


def vars_of(outcome: Any) -> Any:
    return vars(outcome) if isinstance(outcome, Exception) else outcome


def team_line(n: int) -> ParsedLine:
    record = {"id": f"c{n:06d}", "status": "needs_review", "timestamp": f"2026-01-{n % 28 + 1:02}"}
    return parse(json.dumps(record | {"quality_score": n % 7 / 7, "model_response": "x" * 100}).encode())


def fill(ledger: Any, candidates: int) -> None:
    """So many candidates in review."""
    for start in range(0, candidates, 1_000):
        lines = [team_line(n) for n in range(start, min(candidates, start + 1_000))]
        ledger.write(lambda tx, lines=lines: imports.import_run(tx, "run", lines)).result()


__all__ = ["Clock", "TeamSuite", "claim", "encode", "fill"]
