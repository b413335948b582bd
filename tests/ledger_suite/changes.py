"""Revisions, decisions, request ids, and the history that changes leave."""

from __future__ import annotations

import functools
import json
import threading
import weakref
from typing import Any

import pytest

from avocet_grpc.core import imports, ingest, review
from avocet_grpc.core.errors import AlreadyInReview, CandidateNotFound, InvalidField, NotInReview, RevisionMismatch
from avocet_grpc.core.model import (
    PAGE_BYTES,
    Action,
    Correction,
    Decision,
    ExportSelection,
    File,
    Source,
    UndoRequest,
)
from avocet_grpc.core.ports.ledger import HistoryCursor, HistoryEntry, Ledger
from avocet_grpc.core.record import record_in
from avocet_grpc.telemetry import guard
from tests.exports import total
from tests.ledger_suite.support import (
    ALL,
    Fresh,
    candidate_line,
    correct,
    exported,
    import_candidates,
    newest,
    undo,
)
from tests.support import eventually


class ChangeRules(Fresh):
    """Revisions, decisions, request ids, and the history that changes leave."""

    def test_a_revision_counts_each_change_and_an_import_shares_one(self, ledger: Ledger) -> None:
        before = newest(ledger)
        import_candidates(ledger, 5)
        assert newest(ledger) == before + 1
        assert {ledger.read(lambda r, n=n: r.candidate(f"c{n}").revision) for n in range(5)} == {before + 1}
        assert correct(ledger, "c1").revision == before + 2

    def test_nothing_keeps_what_a_change_brought_once_it_is_stored(self, ledger: Ledger) -> None:
        class Texts:
            """Stands for many megabytes."""

        def work(tx: Any, texts: Texts) -> None:
            tx.put(File.CANDIDATES, candidate_line(1))

        ended = list[bool]()
        texts = Texts()
        weakref.finalize(texts, ended.append, True)
        change = functools.partial(work, texts=texts)
        del texts
        ledger.write(change).result()
        del change
        eventually(lambda: ended)

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

    def test_a_failing_listener_silences_no_other_and_no_change(self, ledger: Ledger) -> None:
        before, heard = guard.failures["listener"], list[str]()

        def fail() -> None:
            raise OSError

        ledger.on_commit(fail)
        ledger.on_commit(lambda: heard.append("commit"))
        for _ in range(2):
            made = ledger.write(lambda tx: ingest.ingest(tx, Correction("s", "t", "p", "r", "c")))
            assert made.result(timeout=30).created
        ledger.write(lambda tx: None).result(timeout=30)
        assert len(heard) >= 2
        assert guard.failures["listener"] - before >= 2

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
        assert json.loads(undone.raw) == record_in(line)
        assert list(json.loads(undone.raw)) == list(record_in(line))
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

    def test_a_history_of_long_changes_is_read_no_further_than_a_page(self, ledger: Ledger) -> None:
        import_candidates(ledger, 1)
        for _ in range(3):
            correct(ledger, "c0", "y" * (PAGE_BYTES * 2 // 5))
            undo(ledger, "c0")
        found = ledger.read(lambda r: r.log.entries(None, 500, id="c0", newest_first=True, values=True))
        assert [entry.action for entry in found] == ["undo", "correct", "undo"]

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
        assert total(ledger, ExportSelection(newest(ledger), shard_count=2), 0) > 1_000
