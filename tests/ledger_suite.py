"""What every ledger engine must do: a subclass gives `open_ledger`, and each test gets a fresh ledger.

Each work runs twice, and only the second run counts: an engine may run works again.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from avocet_grpc.core import export, imports, ingest, queue, review
from avocet_grpc.core.errors import AlreadyInReview, CandidateNotFound, InvalidField, NotInReview, RevisionMismatch
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    Action,
    CandidateFilter,
    Correction,
    Decision,
    ExportSelection,
    File,
    Order,
    Source,
    Split,
    SplitBy,
    UndoRequest,
)
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, Ledger
from avocet_grpc.core.record import parse
from avocet_grpc.store.sql.group import Run
from avocet_grpc.store.sql.transaction import SqlTransaction

ALL = CandidateFilter()


def encode(record: dict[str, Any], revision: int) -> bytes:
    """A stand-in for the wire's encoding: the id and the revision are enough to check the ledger."""
    return f"{record['id']}@{revision}".encode() + b"\0\xff"


def candidate_line(number: int, **more: Any) -> Any:
    record = {"id": f"c{number}", "status": "needs_review", "model_name": f"m{number % 3}", "task_type": "qa"}
    return parse(json.dumps(record | more).encode())


def import_candidates(ledger: Ledger, count: int, **more: Any) -> None:
    lines = [
        candidate_line(n, timestamp=f"2026-01-{n % 28 + 1:02}", quality_score=n % 5 / 4 if n % 3 else None, **more)
        for n in range(count)
    ]
    ledger.write(lambda tx: imports.import_run(tx, "run", lines)).result()


def correct(ledger: Ledger, id: str, text: str = "better", **more: Any) -> Any:
    decision = Decision(id, Action.CORRECT, text, **more)
    return ledger.write(lambda tx: review.submit(tx, decision)).result()


def undo(ledger: Ledger, id: str) -> Any:
    return ledger.write(lambda tx: review.undo(tx, UndoRequest(id))).result()


def newest(ledger: Ledger) -> int:
    return ledger.read(lambda r: r.revision())


def exported(ledger: Ledger, **asked: Any) -> list[str]:
    defaults: dict[str, Any] = {
        "filter": ALL, "shard_index": 0, "shard_count": 1, "split": None,
        "at_revision": 0, "since_revision": 0, "resume_token": "",
    }  # fmt: skip

    def read(reader: Any) -> list[str]:
        cursor = export.open_export(reader, **(defaults | asked))
        batch = reader.export_batch(cursor.selection, cursor.after_key, 1000, 1 << 30)
        ids = batch.ids.decode().split("\n")[:-1] if batch else []
        assert len(ids) == cursor.total
        return ids

    return ledger.read(read)


def run_each_work_twice(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let each work run, be undone, and run again. Returns a list that grows with each first run."""
    runs: list[int] = []
    outcome = Run.outcome

    def twice(self: Run, work: Any) -> Any:
        tx = SqlTransaction(self._session, self.head, self._encode, self._pending)
        try:
            work(tx)
        except Exception:
            runs.append(0)
        else:
            runs.append(1)
        tx.undo()
        return outcome(self, work)

    monkeypatch.setattr(Run, "outcome", twice)
    return runs


class LedgerSuite:
    """Every rule of `core.ports.ledger` that a caller can see."""

    @pytest.fixture
    def ledger(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
        runs = run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path)
        yield ledger
        ledger.close()
        assert runs

    def open_ledger(self, tmp_path: Any) -> Ledger:
        raise NotImplementedError

    def test_a_revision_counts_each_change_and_an_import_shares_one(self, ledger: Ledger) -> None:
        before = newest(ledger)
        import_candidates(ledger, 5)
        assert newest(ledger) == before + 1
        assert {ledger.read(lambda r, n=n: r.candidate(f"c{n}").revision) for n in range(5)} == {before + 1}
        assert correct(ledger, "c1").revision == before + 2

    def test_a_refused_change_leaves_nothing_behind(self, ledger: Ledger) -> None:
        import_candidates(ledger, 2)
        before = ledger.read(lambda r: r.stats(ALL))

        def half(tx: Any) -> None:
            tx.put(File.CANDIDATES, candidate_line(99))
            assert tx.stats(ALL).total == 3
            tx.put(File.APPROVED, candidate_line(98, status="approved", corrected_response="x"))
            raise InvalidField("x", "half-way")

        with pytest.raises(InvalidField):
            ledger.write(half).result()
        assert ledger.read(lambda r: r.stats(ALL)) == before
        assert ledger.read(lambda r: r.candidate("c99")) is None
        correct(ledger, "c1")
        assert exported(ledger) == ["c1"]

    def test_decisions_are_refused_as_the_contract_says(self, ledger: Ledger) -> None:
        import_candidates(ledger, 2)
        with pytest.raises(CandidateNotFound):
            correct(ledger, "nobody")
        with pytest.raises(RevisionMismatch):
            correct(ledger, "c0", expected_revision=1)
        with pytest.raises(AlreadyInReview):
            undo(ledger, "c0")
        correct(ledger, "c0")
        with pytest.raises(NotInReview) as refused:
            correct(ledger, "c0")
        assert refused.value.current_status == "approved"

    def test_an_undo_restores_exactly_what_the_decision_set(self, ledger: Ledger) -> None:
        line = candidate_line(0, failure_category="hallucination", corrected_response=None, zebra=[1])
        ledger.write(lambda tx: imports.import_run(tx, "run", [line])).result()
        correct(ledger, "c0", reviewer="ann")
        undone = undo(ledger, "c0")
        assert json.loads(undone.raw) == line.record
        assert list(json.loads(undone.raw)) == list(line.record)
        assert exported(ledger) == []

    def test_a_request_id_gets_its_first_answer_and_refuses_other_content(self, ledger: Ledger) -> None:
        import_candidates(ledger, 2)
        first = correct(ledger, "c0", request_id="r1")
        correct(ledger, "c1")
        assert correct(ledger, "c0", request_id="r1") == first
        with pytest.raises(InvalidField):
            correct(ledger, "c0", "other", request_id="r1")
        correction = Correction("kiwi", "qa", "p", "r", "c", request_id="r2")
        stored = [ledger.write(lambda tx: ingest.ingest(tx, correction)).result() for _ in range(2)]
        assert stored[0].id == stored[1].id
        assert [one.created for one in stored] == [True, False]

    def test_each_principal_has_its_own_request_ids(self, ledger: Ledger) -> None:
        by_kiwi = Correction("kiwi", "qa", "p", "r", "c", request_id="r", principal="kiwi")
        by_peregrine = Correction("peregrine", "qa", "p2", "r", "c", request_id="r", principal="peregrine")
        first, other, again = (
            ledger.write(lambda tx, one=one: ingest.ingest(tx, one)).result()
            for one in (by_kiwi, by_peregrine, by_kiwi)
        )
        assert other.created and other.id != first.id
        assert (again.id, again.created) == (first.id, False)

    @pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
    def test_following_tokens_and_counting_pages_visit_the_same_items(self, ledger: Ledger, order: Order) -> None:
        import_candidates(ledger, 40)
        by_token: list[int] = []
        token, more = "", True
        while more:
            page = ledger.read(lambda r, t=token: queue.queue_page(r, ALL, order, 1, 7, t))
            by_token += [item.candidate.key for item in page.items]
            token, more = queue.queue_token(ALL, order, page.items[-1].position), page.more
        by_page = [
            item.candidate.key
            for number in range(1, 8)
            for item in ledger.read(lambda r, n=number: queue.queue_page(r, ALL, order, n, 7, "")).items
        ]
        assert len(set(by_token)) == 40
        assert by_token == by_page

    @pytest.mark.parametrize("up, down", [(Order.TIMESTAMP, Order.TIMESTAMP_DESC), (Order.QUALITY, Order.QUALITY_DESC)])
    def test_a_descending_order_is_the_reverse_of_the_ascending_one(
        self, ledger: Ledger, up: Order, down: Order
    ) -> None:
        import_candidates(ledger, 40)
        ledger.write(lambda tx: tx.put(File.CANDIDATES, candidate_line(50))).result()
        first, second = (ledger.read(lambda r, o=order: r.queue(ALL, o, None, 0, 99)) for order in (up, down))
        with_key = [[i.candidate.key for i in items if i.position.value is not None] for items in (first, second)]
        without = [[i.candidate.key for i in items if i.position.value is None] for items in (first, second)]
        assert with_key[0] == with_key[1][::-1]
        assert without[0] == without[1][::-1] == sorted(without[0])
        assert [i.candidate.key for i in second] == with_key[1] + without[1]

    def test_counters_are_what_counting_gives(self, ledger: Ledger) -> None:
        import_candidates(ledger, 30)
        for n in range(0, 30, 2):
            correct(ledger, f"c{n}")
        for n in range(0, 30, 4):
            undo(ledger, f"c{n}")
        counted = CandidateFilter(task_types=("qa",))
        assert ledger.read(lambda r: r.stats(ALL)) == ledger.read(lambda r: r.stats(counted))
        assert ledger.read(lambda r: r.queue_total(ALL)) == ledger.read(lambda r: r.queue_total(counted)) == 23

    def test_why_approved_records_are_not_exported_is_counted_by_the_reason(self, ledger: Ledger) -> None:
        def approve(number: int, **more: Any) -> None:
            line = candidate_line(number, status="approved", **more)
            ledger.write(lambda tx: tx.put(File.APPROVED, line)).result()

        def counts(filter: CandidateFilter = ALL) -> dict[str, int]:
            return dict(ledger.read(lambda r: r.stats(filter)).unexportable)

        approve(0, corrected_response="x")
        for number in (1, 2):
            approve(number, corrected_response=" ", prompt_messages=["odd"])
        approve(3, corrected_response=None)
        approve(4, corrected_response=["x"])
        approve(5, status_of_others="x")
        ledger.write(lambda tx: tx.put(File.APPROVED, candidate_line(6, status="discarded"))).result()
        ledger.write(lambda tx: tx.put(File.CANDIDATES, candidate_line(7, status="approved"))).result()
        assert counts() == counts(CandidateFilter(task_types=("qa",)))
        assert counts() == {"prompt": 2, "correction_missing": 2, "correction_not_text": 1}
        assert counts(CandidateFilter(model_names=("m1",))) == {"prompt": 1, "correction_not_text": 1}
        approve(1, corrected_response="x")
        approve(4, corrected_response="x")
        ledger.write(lambda tx: tx.remove(File.APPROVED, "c2")).result()
        assert counts() == counts(CandidateFilter(task_types=("qa",))) == {"correction_missing": 2}
        assert exported(ledger) == ["c0", "c1", "c4"]

    def test_candidates_with_the_same_prompt_are_counted_and_found(self, ledger: Ledger) -> None:
        asked = {n: "1+1?" if n % 2 else [{"role": "user", "content": f"{n % 4}?"}] for n in range(12)}
        lines = [candidate_line(n, prompt_messages=prompt) for n, prompt in asked.items()]
        ledger.write(lambda tx: imports.import_run(tx, "run", [*lines, candidate_line(99)])).result()
        correct(ledger, "c1")
        ledger.write(lambda tx: tx.remove(File.CANDIDATES, "c3")).result()
        digest = {n: prompt_digest({"prompt_messages": prompt}) or b"" for n, prompt in asked.items()}

        def count(most: int) -> dict[bytes, int]:
            return ledger.read(lambda r: r.same_prompt([digest[0], digest[1], digest[1], b"\0" * 32], most))

        assert count(100) == {digest[0]: 3, digest[1]: 5, b"\0" * 32: 0}
        assert count(4) == {digest[0]: 3, digest[1]: 4, b"\0" * 32: 0}
        some = CandidateFilter(prompt_digests=(digest[1].hex(), digest[2].hex()))
        found = ledger.read(lambda r: r.queue(some, Order.FILE, None, 0, 99))
        ids = [json.loads(item.candidate.raw)["id"] for item in found]
        assert ids == ["c2", "c5", "c6", "c7", "c9", "c10", "c11"]
        assert ledger.read(lambda r: r.queue_total(some)) == len(ids)
        assert ledger.read(lambda r: r.stats(some)).total == len(ids) + 1
        assert exported(ledger, filter=some) == ["c1"]
        assert exported(ledger, filter=CandidateFilter(prompt_digests=(digest[0].hex(),))) == []

    @pytest.mark.parametrize("by, key", [(SplitBy.PROMPT, "prompt_messages"), (SplitBy.TASK, "task_id")])
    def test_a_split_keeps_the_same_question_on_one_side(self, ledger: Ledger, by: SplitBy, key: str) -> None:
        values = [f"{n % 15}" if n % 4 else None for n in range(60)]
        lines = [candidate_line(n, status="approved", corrected_response="x", **{key: v}) for n, v in enumerate(values)]

        def load(tx: Any) -> None:
            for line in lines:
                tx.put(File.APPROVED, line)

        ledger.write(load).result()
        sides = [exported(ledger, split=Split(side, 0.5, by=by)) for side in (False, True)]
        assert sorted(sum(sides, [])) == sorted(exported(ledger))
        asked = [{values[int(id[1:])] for id in side} for side in sides]
        assert asked[0] & asked[1] == {None}, "what has no prompt or task goes by its id"
        by_id = [exported(ledger, split=Split(side, 0.5)) for side in (False, True)]
        assert sides != by_id
        for side in (0, 1):
            alone = [id for id in sides[side] if values[int(id[1:])] is None]
            assert alone == [id for id in by_id[side] if values[int(id[1:])] is None]

    def test_what_an_export_chooses_is_what_choosing_by_hand_gives(self, ledger: Ledger) -> None:
        rng = random.Random(11)
        approved: dict[str, tuple[int, Any]] = {}
        past: dict[int, dict[str, tuple[int, Any]]] = {}
        for step in range(120):
            number = rng.randrange(40)
            id = f"c{number}"
            if id in approved and rng.random() < 0.3:
                ledger.write(lambda tx, id=id: tx.remove(File.APPROVED, id)).result()
                del approved[id]
            else:
                prompt = rng.choice([None, *(f"{n}?" for n in range(6))])
                fields = {"prompt_messages": prompt, "corrected_response": f"{step}"}
                line = candidate_line(number, status="approved", **fields)
                ledger.write(lambda tx, line=line: tx.put(File.APPROVED, line)).result()
                approved[id] = (newest(ledger), json.loads(line.raw))
            past[newest(ledger)] = dict(approved)
        middle = sorted(past)[60]
        split = Split(True, 0.5, by=SplitBy.PROMPT)
        for revision, model, since, shards, side in itertools.product(
            (middle, newest(ledger)), ("", "m1"), (0, sorted(past)[30]), (1, 2), (None, split)
        ):
            seen = {id: at for id, at in past[revision].items() if model in ("", at[1]["model_name"])}
            last: dict[str, str] = {}
            for id in sorted(seen, key=lambda id: seen[id][0]):
                last[seen[id][1]["prompt_messages"] or id] = id
            wanted = {id for id in last.values() if seen[id][0] > since}
            wanted = {id for id in wanted if export.shard_hash(id) % shards == 0}
            if side:
                digests = {id: prompt_digest(seen[id][1]) for id in wanted}
                wanted = {id for id in wanted if export.in_split(side, id, digests[id], None)}
            found = exported(
                ledger, filter=CandidateFilter(model_names=(model,) if model else ()), at_revision=revision,
                since_revision=since, shard_count=shards, split=side, unique_prompts=True,
            )  # fmt: skip
            assert len(found) == len(set(found))
            assert set(found) == wanted

    def test_runs_are_known_while_a_candidate_has_them(self, ledger: Ledger) -> None:
        import_candidates(ledger, 2, benchmark_run_id="night")
        assert ledger.read(lambda r: r.known_run_ids(["night", "day"])) == {"night"}
        for n in range(2):
            ledger.write(lambda tx, n=n: tx.remove(File.CANDIDATES, f"c{n}")).result()
        assert ledger.read(lambda r: r.known_run_ids(["night", "day"])) == set()

    def test_an_export_is_the_same_at_its_revision_whatever_comes_later(self, ledger: Ledger) -> None:
        import_candidates(ledger, 10)
        for n in range(5):
            correct(ledger, f"c{n}")
        revision = newest(ledger)
        undo(ledger, "c1")
        correct(ledger, "c7")
        assert exported(ledger, at_revision=revision) == ["c0", "c1", "c2", "c3", "c4"]
        assert exported(ledger) == ["c0", "c2", "c3", "c4", "c7"]
        assert exported(ledger, since_revision=revision) == ["c7"]
        correct(ledger, "c1")
        assert exported(ledger) == ["c0", "c2", "c3", "c4", "c7", "c1"]
        assert exported(ledger, at_revision=revision) == ["c0", "c1", "c2", "c3", "c4"]

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_shards_are_disjoint_and_complete(self, ledger: Ledger, count: int) -> None:
        import_candidates(ledger, 30)
        for n in range(30):
            correct(ledger, f"c{n}")
        parts = [exported(ledger, shard_index=i, shard_count=count) for i in range(count)]
        assert sorted(sum(parts, [])) == sorted(exported(ledger))

    def test_a_batch_ends_at_its_limits_and_leaves_nothing_out(self, ledger: Ledger) -> None:
        import_candidates(ledger, 20)
        for n in range(20):
            correct(ledger, f"c{n}", "x" * n)
        selection = ExportSelection(newest(ledger))
        shard = ExportSelection(selection.revision, shard_count=2, shard_index=1)
        split = ExportSelection(selection.revision, split=Split(False, 0.5))
        for asked, limit, most in itertools.product((selection, shard, split), (1, 7, 100), (1, 60, 10_000)):
            whole = ledger.read(lambda r, s=asked: r.export_batch(s, 0, 1000, 1 << 30))
            after, ids, encoded = 0, b"", b""
            while batch := ledger.read(lambda r, s=asked, a=after, n=limit, m=most: r.export_batch(s, a, n, m)):
                assert batch.count == batch.ids.count(b"\n") <= limit
                assert len(batch.encoded) <= most or batch.count == 1
                ids, encoded, after = ids + batch.ids, encoded + batch.encoded, batch.last_key
            assert (ids, encoded) == (whole.ids, whole.encoded)
            assert ledger.read(lambda r, s=asked: r.export_total(s, 0)) == whole.count > 0

    def test_works_of_one_commit_see_each_other_and_a_refused_one_leaves_nothing(self, ledger: Ledger) -> None:
        import_candidates(ledger, 3)
        hold = threading.Event()
        held = ledger.write(lambda tx: hold.wait(10))

        def half(tx: Any) -> None:
            review.submit(tx, Decision("c1", Action.DISCARD))
            assert tx.stats(ALL).by_status == {"needs_review": 2, "discarded": 1}
            assert json.loads(tx.candidate("c1").raw)["status"] == "discarded"
            raise InvalidField("x", "half-way")

        works = [
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "one", request_id="r")),
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "one", request_id="r")),
            lambda tx: review.undo(tx, UndoRequest("c0")),
            half,
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "two")),
            lambda tx: review.submit(tx, Decision("c1", Action.FLAG)),
        ]
        futures = [ledger.write(work) for work in works]
        hold.set()
        assert held.result()
        with pytest.raises(InvalidField):
            futures[3].result()
        first, again, undone, second, flagged = (future.result() for i, future in enumerate(futures) if i != 3)
        assert first == again
        assert [one.revision for one in (undone, second, flagged)] == [first.revision + n for n in (1, 2, 3)]
        assert ledger.read(lambda r: r.stats(ALL)).by_status == {"approved": 1, "model_rejected": 1, "needs_review": 1}
        assert exported(ledger) == ["c0"]
        assert exported(ledger, at_revision=first.revision) == ["c0"]
        assert exported(ledger, at_revision=undone.revision) == []
        assert [entry.action for entry in ledger.read(lambda r: r.history("c1"))] == ["flag", "import"]

    def test_the_history_of_an_id_says_who_did_what_and_what_changed(self, ledger: Ledger) -> None:
        import_candidates(ledger, 1)
        decided = correct(ledger, "c0", reviewer="ann")
        undone = undo(ledger, "c0")
        entries = ledger.read(lambda r: r.history("c0"))
        assert [(e.action, e.actor, e.status_before, e.status_after) for e in entries] == [
            ("undo", "", "approved", "needs_review"),
            ("correct", "ann", "needs_review", "approved"),
            ("import", "", None, "needs_review"),
        ]
        assert [e.revision for e in entries[:2]] == [undone.revision, decided.revision]
        change = json.loads(entries[1].change or "")
        assert (change["was"]["status"], change["now"]["status"]) == ("needs_review", "approved")
        assert {e.source for e in entries} == {Source.SERVICE}

    def test_the_whole_history_is_followed_in_pieces_without_gap_or_repetition(self, ledger: Ledger) -> None:
        start = newest(ledger)
        import_candidates(ledger, 5)
        for n in range(5):
            correct(ledger, f"c{n}")
        found: list[HistoryEntry] = []
        after = HistoryCursor(start)
        while part := ledger.read(lambda r, a=after: r.history_after(a, 3)):
            found += part
            after = HistoryCursor(part[-1].revision, part[-1].number)
        assert [(e.action, e.id) for e in found] == [
            *(("import", f"c{n}") for n in range(5)),
            *(("correct", f"c{n}") for n in range(5)),
        ]
        for at in range(4, 10):
            assert ledger.read(lambda r, a=at: r.history_after(HistoryCursor(found[a].revision), 9)) == found[at + 1 :]

    def test_many_records_in_one_change_are_all_there(self, ledger: Ledger) -> None:
        lines = [candidate_line(n, status="approved", corrected_response="x") for n in range(2_500)]

        def put(tx: Any) -> None:
            for line in lines:
                tx.put(File.CANDIDATES, line)
                tx.put(File.APPROVED, line)

        ledger.write(put).result()
        stats = ledger.read(lambda r: r.stats(ALL))
        assert (stats.total, stats.export_ready) == (2_500, 2_500)
        assert ledger.read(lambda r: r.export_total(ExportSelection(r.revision(), shard_count=2), 0)) > 1_000
