"""What every ledger engine must do: a subclass gives `open_store`, and each test gets a fresh store."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from avocet_grpc.core import export, imports, ingest, queue, review
from avocet_grpc.core.errors import AlreadyInReview, CandidateNotFound, InvalidField, NotInReview, RevisionMismatch
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    Action,
    CandidateFilter,
    Correction,
    Decision,
    ExportSelection,
    File,
    LineKind,
    Order,
    Split,
    Sync,
    UndoRequest,
)
from avocet_grpc.core.ports.files import DisplacedFile, Durable, FileState, Store
from avocet_grpc.core.record import content_digest_before_4, parse

ALL = CandidateFilter()


def encode(record: dict[str, Any], revision: int) -> bytes:
    """A stand-in for the wire's encoding: the id and the revision are enough to check the ledger."""
    return f"{record['id']}@{revision}".encode() + b"\0\xff"


def candidate_line(number: int, **more: Any) -> Any:
    record = {"id": f"c{number}", "status": "needs_review", "model_name": f"m{number % 3}", "task_type": "qa"}
    return parse(json.dumps(record | more).encode())


def import_candidates(store: Store, count: int) -> None:
    lines = [
        candidate_line(n, timestamp=f"2026-01-{n % 28 + 1:02}", quality_score=n % 5 / 4 if n % 3 else None)
        for n in range(count)
    ]
    store.write(lambda tx: imports.import_run(tx, "run", lines)).result()


def correct(store: Store, id: str, text: str = "better", **more: Any) -> Any:
    decision = Decision(id, Action.CORRECT, text, **more)
    return store.write(lambda tx: review.submit(tx, decision)).result()


def exported(store: Store, **asked: Any) -> list[str]:
    defaults: dict[str, Any] = {
        "filter": ALL, "shard_index": 0, "shard_count": 1, "split": None,
        "at_revision": 0, "since_revision": 0, "resume_token": "",
    }  # fmt: skip

    def read(reader: Any) -> list[str]:
        cursor = export.open_export(reader, **(defaults | asked))
        rows = reader.export_rows(cursor.selection, cursor.after_key, 1000)
        assert len(rows) == cursor.total
        return [row.id for row in rows]

    return store.read(read)


class StoreSuite:
    """Every rule of `core.ports` that a caller can see."""

    @pytest.fixture
    def store(self, tmp_path: Any) -> Iterator[Store]:
        store = self.open_store(tmp_path)
        yield store
        store.close()

    def open_store(self, tmp_path: Any) -> Store:
        raise NotImplementedError

    def test_a_revision_counts_each_change_and_an_import_shares_one(self, store: Store) -> None:
        before = store.read(lambda r: r.revision())
        import_candidates(store, 5)
        assert store.read(lambda r: r.revision()) == before + 1
        assert {store.read(lambda r, n=n: r.candidate(f"c{n}").revision) for n in range(5)} == {before + 1}
        assert correct(store, "c1").revision == before + 2

    def test_a_refused_change_leaves_nothing_behind(self, store: Store) -> None:
        import_candidates(store, 2)
        before = store.read(lambda r: r.stats(ALL))

        def half(tx: Any) -> None:
            tx.add(File.CANDIDATES, candidate_line(99))
            raise InvalidField("x", "half-way")

        with pytest.raises(InvalidField):
            store.write(half).result()
        assert store.read(lambda r: r.stats(ALL)) == before

    def test_decisions_are_refused_as_the_contract_says(self, store: Store) -> None:
        import_candidates(store, 2)
        with pytest.raises(CandidateNotFound):
            correct(store, "nobody")
        with pytest.raises(RevisionMismatch):
            correct(store, "c0", expected_revision=1)
        with pytest.raises(AlreadyInReview):
            store.write(lambda tx: review.undo(tx, UndoRequest("c0"))).result()
        correct(store, "c0")
        with pytest.raises(NotInReview) as refused:
            correct(store, "c0")
        assert refused.value.current_status == "approved"

    def test_an_undo_restores_exactly_what_the_decision_set(self, store: Store) -> None:
        line = candidate_line(0, failure_category="hallucination", corrected_response=None, zebra=[1])
        store.write(lambda tx: imports.import_run(tx, "run", [line])).result()
        correct(store, "c0", reviewer="ann")
        undone = store.write(lambda tx: review.undo(tx, UndoRequest("c0"))).result()
        assert json.loads(undone.raw) == line.record
        assert list(json.loads(undone.raw)) == list(line.record)
        assert exported(store) == []

    def test_a_request_id_gets_its_first_answer_and_refuses_other_content(self, store: Store) -> None:
        import_candidates(store, 2)
        first = correct(store, "c0", request_id="r1")
        correct(store, "c1")
        assert correct(store, "c0", request_id="r1") == first
        with pytest.raises(InvalidField):
            correct(store, "c0", "other", request_id="r1")
        correction = Correction("kiwi", "qa", "p", "r", "c", request_id="r2")
        stored = [store.write(lambda tx: ingest.ingest(tx, correction)).result() for _ in range(2)]
        assert stored[0].id == stored[1].id
        assert [one.created for one in stored] == [True, False]

    @pytest.mark.parametrize("order", [order for order in Order if order not in REVIEW_ORDERS])
    def test_following_tokens_and_counting_pages_visit_the_same_items(self, store: Store, order: Order) -> None:
        import_candidates(store, 40)
        by_token: list[int] = []
        token, more = "", True
        while more:
            page = store.read(lambda r, t=token: queue.queue_page(r, ALL, order, 1, 7, t))
            by_token += [item.candidate.key for item in page.items]
            token, more = queue.queue_token(ALL, order, page.items[-1].position), page.more
        by_page = [
            item.candidate.key
            for number in range(1, 8)
            for item in store.read(lambda r, n=number: queue.queue_page(r, ALL, order, n, 7, "")).items
        ]
        assert len(set(by_token)) == 40
        assert by_token == by_page

    def test_counters_are_what_counting_gives(self, store: Store) -> None:
        import_candidates(store, 30)
        for n in range(0, 30, 2):
            correct(store, f"c{n}")
        for n in range(0, 30, 4):
            store.write(lambda tx, n=n: review.undo(tx, UndoRequest(f"c{n}"))).result()
        counted = CandidateFilter(task_types=("qa",))
        assert store.read(lambda r: r.stats(ALL)) == store.read(lambda r: r.stats(counted))
        assert store.read(lambda r: r.queue_total(ALL)) == store.read(lambda r: r.queue_total(counted)) == 23

    def test_an_export_is_the_same_at_its_revision_whatever_comes_later(self, store: Store) -> None:
        import_candidates(store, 10)
        for n in range(5):
            correct(store, f"c{n}")
        revision = store.read(lambda r: r.revision())
        store.write(lambda tx: review.undo(tx, UndoRequest("c1"))).result()
        correct(store, "c7")
        assert exported(store, at_revision=revision) == ["c0", "c1", "c2", "c3", "c4"]
        assert exported(store) == ["c0", "c2", "c3", "c4", "c7"]
        assert exported(store, since_revision=revision) == ["c7"]

    @pytest.mark.parametrize("count", [1, 2, 3, 7])
    def test_shards_are_disjoint_and_complete(self, store: Store, count: int) -> None:
        import_candidates(store, 30)
        for n in range(30):
            correct(store, f"c{n}")
        parts = [exported(store, shard_index=i, shard_count=count) for i in range(count)]
        assert sorted(sum(parts, [])) == sorted(exported(store))

    def test_of_one_id_the_first_candidate_line_and_the_last_exportable_approved_line_count(self, store: Store) -> None:
        first, second = candidate_line(1, note="first"), candidate_line(1, note="second")
        approved = [candidate_line(1, status="approved", corrected_response=text) for text in ("one", "two", "  ")]

        def adopt(tx: Any) -> None:
            for line in (first, second, parse(b"{torn")):
                tx.adopt(File.CANDIDATES, line, 0, len(line.raw))
            for line in approved:
                tx.adopt(File.APPROVED, line, 0, len(line.raw))

        store.write(adopt).result()
        stats = store.read(lambda r: r.stats(ALL))
        assert (stats.total, stats.malformed, stats.duplicate_ids, stats.export_ready) == (1, 1, 3, 1)
        assert store.read(lambda r: r.candidate("c1")).raw == first.raw
        record_key = store.read(lambda r: r.candidate("c1")).key
        store.write(lambda tx: tx.forget(record_key)).result()
        assert store.read(lambda r: r.candidate("c1")).raw == second.raw
        exported_key = store.read(lambda r: r.line_of(File.APPROVED, "c1")).key
        store.write(lambda tx: tx.forget(exported_key)).result()
        selection = ExportSelection(store.read(lambda r: r.revision()))
        remaining = store.read(lambda r: r.raw(r.export_rows(selection, 0, 9)[0].key))
        assert json.loads(remaining)["corrected_response"] == "one"

    def test_a_line_stays_pending_until_the_file_holds_its_newest_content(self, store: Store) -> None:
        import_candidates(store, 1)
        line = store.read(lambda r: r.pending(File.CANDIDATES, 9))[0]
        assert line.sync is Sync.APPEND
        original = parse(store.read(lambda r: r.raw(line.key))).record
        after = correct(store, "c0")
        store.write(lambda tx: tx.placed(line.key, line.digest, 0, 10, True)).result()
        pending = store.read(lambda r: r.pending(File.CANDIDATES, 9))[0]
        assert (pending.sync, pending.offset, pending.file_digest) == (Sync.CHANGE, 0, line.digest)
        store.write(lambda tx: tx.placed(line.key, parse(after.raw).digest, 10, 20, True)).result()
        assert store.read(lambda r: r.pending_count(File.CANDIDATES)) == 0
        assert store.read(lambda r: r.was_ours(File.CANDIDATES, "c0", content_digest_before_4(original or {})))

    def test_a_removed_line_waits_for_the_file_and_is_not_served(self, store: Store) -> None:
        import_candidates(store, 1)
        correct(store, "c0")
        store.write(lambda tx: review.undo(tx, UndoRequest("c0"))).result()
        [line] = store.read(lambda r: r.pending(File.APPROVED, 9))
        assert line.sync is Sync.REMOVE
        assert store.read(lambda r: r.line_of(File.APPROVED, "c0")) is None
        store.write(lambda tx: tx.forget(line.key)).result()
        assert store.read(lambda r: list(r.lines(File.APPROVED))) == []

    def test_many_adopted_lines_count_as_one_by_one(self, store: Store) -> None:
        ids = ["a", "b", "a", "c", "b"]
        lines = [
            candidate_line(0, id=id, note=n, status="approved", corrected_response="x") for n, id in enumerate(ids)
        ]
        torn = parse(b"{torn")
        for file in File:
            store.write(lambda tx, file=file: tx.adopt_all(file, [*enumerate(lines), (99, torn)])).result()
        stats = store.read(lambda r: r.stats(ALL))
        assert (stats.total, stats.malformed, stats.duplicate_ids, stats.export_ready) == (3, 2, 4, 3)
        assert json.loads(store.read(lambda r: r.candidate("a")).raw)["note"] == 0
        assert exported(store) == ["a", "c", "b"]
        assert store.read(lambda r: r.stats(CandidateFilter(task_types=("qa",)))).by_model == stats.by_model

    def test_a_ledger_that_is_loaded_has_what_it_was_given(self, store: Store) -> None:
        before = store.read(lambda r: r.revision())
        with store.loading():
            import_candidates(store, 3)
        assert store.read(lambda r: r.stats(ALL)).total == 3
        assert store.read(lambda r: r.revision()) > before
        with store.loading():
            correct(store, "c1")
        assert exported(store) == ["c1"]

    def test_rows_come_in_the_order_of_keys_and_move_by_stretches(self, store: Store) -> None:
        lines = [candidate_line(n) for n in range(4)]
        store.write(
            lambda tx: tx.adopt_all(File.CANDIDATES, [(n * 100, line) for n, line in enumerate(lines)])
        ).result()
        store.write(lambda tx: tx.add(File.CANDIDATES, candidate_line(9))).result()
        rows = store.read(lambda r: list(r.rows(File.CANDIDATES)))
        assert [row[3] for row in rows] == [0, 100, 200, 300, None]
        assert [row[1] for row in rows[:4]] == [line.digest for line in lines]
        moves = [(rows[1][0], rows[2][0], -40), (rows[3][0], rows[4][0], 7)]
        store.write(lambda tx: tx.moved_all(File.CANDIDATES, moves)).result()
        assert [row[3] for row in store.read(lambda r: list(r.rows(File.CANDIDATES)))] == [0, 60, 160, 307, None]

    def test_another_spelling_is_kept_and_is_no_change(self, store: Store) -> None:
        line = parse(b'{"id": "a", "status": "approved", "corrected_response": "x"}')
        store.write(lambda tx: tx.adopt(File.APPROVED, line, 0, len(line.raw))).result()
        revision = store.read(lambda r: r.revision())
        again = parse(b'{"corrected_response":"x","id":"a","status":"approved"}')
        key = store.read(lambda r: r.line_of(File.APPROVED, "a")).key
        store.write(lambda tx: tx.respell(key, again, 5)).result()
        after = store.read(lambda r: r.line(key))
        assert (after.digest, after.offset, after.length, after.sync) == (again.digest, 5, len(again.raw), Sync.CLEAN)
        assert store.read(lambda r: r.raw(key)) == again.raw
        assert exported(store, since_revision=revision) == []

    def test_what_is_saved_waits_to_be_appended_whatever_it_is(self, store: Store) -> None:
        import_candidates(store, 1)
        kinds = [
            store.write(lambda tx, line=line: tx.save(File.CANDIDATES, line)).result()
            for line in (candidate_line(7), candidate_line(0), parse(b"{torn"))
        ]
        assert kinds == [LineKind.RECORD, LineKind.DUPLICATE, LineKind.MALFORMED]
        assert [line.sync for line in store.read(lambda r: r.pending(File.CANDIDATES, 9))] == [Sync.APPEND] * 4
        assert store.read(lambda r: r.has_malformed(File.CANDIDATES, parse(b"{torn").digest))
        assert not store.read(lambda r: r.has_malformed(File.CANDIDATES, parse(b"{other").digest))
        digest = candidate_line(0).digest
        assert store.read(lambda r: r.has_duplicate(File.CANDIDATES, "c0", digest))
        assert not store.read(lambda r: r.has_duplicate(File.CANDIDATES, "c7", digest))
        assert not store.read(lambda r: r.has_duplicate(File.APPROVED, "c0", digest))

    def test_what_is_durable_and_what_was_displaced_is_kept(self, store: Store) -> None:
        assert store.read(lambda r: r.durable(File.APPROVED)) == Durable()
        store.write(lambda tx: tx.set_durable(File.APPROVED, Durable(7, 1.5))).result()
        assert store.read(lambda r: r.durable(File.APPROVED)) == Durable(7, 1.5)
        old = DisplacedFile(".x.1.displaced", 1, 2, 3, 4, 5)
        store.write(lambda tx: tx.note_displaced(File.APPROVED, old)).result()
        store.write(lambda tx: tx.note_displaced(File.APPROVED, replace(old, read_to=9))).result()
        assert store.read(lambda r: r.displaced(File.APPROVED)) == [replace(old, read_to=9)]
        assert store.read(lambda r: r.displaced(File.CANDIDATES)) == []
        store.write(lambda tx: tx.drop_displaced(File.APPROVED, old.name)).result()
        assert store.read(lambda r: r.displaced(File.APPROVED)) == []

    def test_a_file_state_is_kept(self, store: Store) -> None:
        state = FileState(1, 2, 3, 4, 5, 6, 7)
        assert store.read(lambda r: r.file_state(File.APPROVED)) is None
        store.write(lambda tx: tx.set_file_state(File.APPROVED, state)).result()
        assert store.read(lambda r: r.file_state(File.APPROVED)) == state

    def test_works_of_one_commit_see_each_other_and_a_refused_one_leaves_nothing(self, store: Store) -> None:
        import_candidates(store, 3)
        hold = threading.Event()
        held = store.write(lambda tx: hold.wait(10))

        def half(tx: Any) -> None:
            review.submit(tx, Decision("c1", Action.DISCARD))
            assert tx.pending_count(File.CANDIDATES) == 3
            assert tx.candidate("c1").loaded["status"] == "discarded"
            raise InvalidField("x", "half-way")

        works = [
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "one", request_id="r")),
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "one", request_id="r")),
            lambda tx: review.undo(tx, UndoRequest("c0")),
            half,
            lambda tx: review.submit(tx, Decision("c0", Action.CORRECT, "two")),
            lambda tx: review.submit(tx, Decision("c1", Action.FLAG)),
        ]
        futures = [store.write(work) for work in works]
        hold.set()
        assert held.result()
        with pytest.raises(InvalidField):
            futures[3].result()
        first, again, undone, second, flagged = (future.result() for i, future in enumerate(futures) if i != 3)
        assert first == again
        assert [one.revision for one in (undone, second, flagged)] == [first.revision + n for n in (1, 2, 3)]
        assert store.read(lambda r: r.stats(ALL)).by_status == {"approved": 1, "model_rejected": 1, "needs_review": 1}
        assert exported(store) == ["c0"]
        assert [entry.action for entry in store.read(lambda r: r.history("c1"))] == ["flag", "import"]

    def test_a_batch_is_the_rows_joined_and_ends_at_its_limits(self, store: Store) -> None:
        import_candidates(store, 20)
        for n in range(20):
            correct(store, f"c{n}", "x" * n)
        selection = ExportSelection(store.read(lambda r: r.revision()))
        shard = ExportSelection(selection.revision, shard_count=2, shard_index=1)
        split = ExportSelection(selection.revision, split=Split(False, 0.5))
        for asked, limit, most in itertools.product((selection, shard, split), (1, 7, 100), (1, 60, 10_000)):
            after, rows = 0, store.read(lambda r, s=asked: r.export_rows(s, 0, 100))
            while batch := store.read(lambda r, s=asked, a=after, n=limit, m=most: r.export_batch(s, a, n, m)):
                part, rows = rows[: batch.count], rows[batch.count :]
                assert batch.ids == b"".join(row.id.encode() + b"\n" for row in part)
                assert batch.encoded == b"".join(row.encoded for row in part)
                assert batch.count <= limit
                assert len(batch.encoded) <= most or batch.count == 1
                assert batch.count == limit or not rows or len(batch.encoded + rows[0].encoded) > most
                after = batch.last_key
            assert rows == []
