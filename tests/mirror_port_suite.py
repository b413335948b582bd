"""What every ledger engine must do for the mirror: a subclass gives `open_ledger`, and each test gets a fresh ledger.

As in the ledger's suite, each work runs twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import CandidateFilter, Correction, File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import (
    ABSENT,
    START,
    Changed,
    Cursor,
    Edit,
    Expected,
    FeedExpired,
    Fenced,
    FileReport,
    Found,
    How,
    NotEmpty,
    Outcome,
    Verdict,
)
from avocet_grpc.core.ports.pruning import Floors
from avocet_grpc.core.record import content_of, parse
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import (
    candidate_line,
    correct,
    exported,
    import_candidates,
    newest,
    run_each_work_twice,
    undo,
)

C, A = File.CANDIDATES, File.APPROVED


def approved_line(id: str, text: str = "x", **more: Any) -> ParsedLine:
    return parse(json.dumps({"id": id, "status": "approved", "corrected_response": text} | more).encode())


class Port:
    """The mirror's side of one ledger, as short as a test wants it."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.ledger = ledger
        self.mirror = ledger.mirror()
        self.epoch = self.mirror.take_over()

    def now(self, file: File, id: str) -> Any:
        with self.mirror.view() as view:
            return view.changed(file, [id]).get(id)

    def expected(self, file: File, id: str) -> Expected:
        now = self.now(file, id)
        return ABSENT if now is None or now.digest is None else Expected(now.digest, now.revision)

    def take_in(self, file: File, line: ParsedLine, how: How = How.APPENDED, **more: Any) -> Outcome:
        trusted = more.pop("trusted", False)
        [outcome] = self.mirror.take_in(self.epoch, file, [Found(line, **more)], how, trusted=trusted)
        return outcome

    def edit(self, file: File, line: ParsedLine, expected: Expected, **more: Any) -> Outcome:
        trusted = more.pop("trusted", False)
        id = line.columns.id
        [outcome] = self.mirror.accept_edits(self.epoch, file, [Edit(id, expected, line, **more)], trusted=trusted)
        return outcome

    def delete(self, file: File, id: str, expected: Expected) -> Outcome:
        [outcome] = self.mirror.accept_deletions(self.epoch, file, [(id, expected)])
        return outcome

    def actions(self, id: str) -> list[tuple[str, Source]]:
        return [(e.action, e.source) for e in self.ledger.read(lambda r: r.history(id))]


class MirrorPortSuite:
    """Every rule of `core.ports.mirror` that a mirror can see."""

    @pytest.fixture
    def port(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
        run_each_work_twice(monkeypatch)
        ledger = self.open_ledger(tmp_path)
        yield Port(ledger)
        ledger.close()

    def open_ledger(self, tmp_path: Any) -> SqliteLedger:
        raise NotImplementedError

    def test_an_import_is_followed_in_pieces_although_it_shares_one_revision(self, port: Port) -> None:
        import_candidates(port.ledger, 5)
        seen, after = list[Changed](), START
        with port.mirror.view() as view:
            while part := view.changes(C, after, 2):
                seen += part
                after = Cursor(part[-1].revision, part[-1].key)
        assert [one.id for one in seen] == [f"c{n}" for n in range(5)]
        assert len({one.revision for one in seen}) == 1
        assert all(one.source is Source.SERVICE and one.raw and one.digest for one in seen)

    def test_a_record_that_changed_twice_comes_once_and_as_it_is_now(self, port: Port) -> None:
        import_candidates(port.ledger, 2)
        after = Cursor(newest(port.ledger), 1 << 60)
        correct(port.ledger, "c0", "one")
        undo(port.ledger, "c0")
        answer = correct(port.ledger, "c0", "two")
        with port.mirror.view() as view:
            [changed] = view.changes(C, after, 9)
            [approved] = view.changes(A, after, 9)
        assert (changed.id, changed.raw, changed.revision) == ("c0", answer.raw, answer.revision)
        assert changed.digest == content_of(parse(answer.raw))
        assert approved.raw == answer.raw

    def test_a_removed_record_comes_as_a_tombstone_and_keeps_saying_so_when_it_is_back(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        before = port.now(A, "c0")
        undone = undo(port.ledger, "c0")
        gone = port.now(A, "c0")
        assert (gone.raw, gone.digest, gone.source) == (None, None, Source.SERVICE)
        assert gone.revision == gone.removed_revision == undone.revision
        correct(port.ledger, "c0")
        back = port.now(A, "c0")
        assert back.removed_revision == undone.revision < back.revision
        assert back.key > before.key
        with port.mirror.view() as view:
            assert [one.id for one in view.records(A, 0, 9)] == ["c0"]

    def test_undo_removes_again_what_others_removed_already(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        standing = port.now(A, "c0")
        assert port.delete(A, "c0", port.expected(A, "c0")).verdict is Verdict.DELETED
        undone = undo(port.ledger, "c0")
        gone = port.now(A, "c0")
        assert (gone.removed_revision, gone.source) == (undone.revision, Source.SERVICE)
        assert port.take_in(A, parse(standing.raw)).verdict is Verdict.STALE
        assert exported(port.ledger) == []

    def test_a_file_is_adopted_as_one_revision_without_history(self, port: Port) -> None:
        lines = [candidate_line(n) for n in range(1_203)]
        again = candidate_line(3, note="later")
        outcomes = list(port.mirror.adopt(port.epoch, C, iter([*lines, again])))
        assert [one.verdict for one in outcomes] == [Verdict.NEW] * 1_203 + [Verdict.DUPLICATE]
        assert outcomes[-1].now.raw == lines[3].raw
        assert {one.now.revision for one in outcomes} == {newest(port.ledger)}
        assert port.ledger.read(lambda r: r.history("c3")) == []
        stats = port.ledger.read(lambda r: r.stats(CandidateFilter()))
        assert (stats.total, stats.by_model["m0"]) == (1_203, 401)
        assert stats == port.ledger.read(lambda r: r.stats(CandidateFilter(task_types=("qa",))))
        with port.mirror.view() as view:
            assert not view.is_empty(C) and view.is_empty(A)
            assert [one.key for one in view.records(C, 0, 9)] == [one.now.key for one in outcomes[:9]]
        assert correct(port.ledger, "c3").revision == newest(port.ledger)

    def test_of_approved_lines_that_are_adopted_the_last_exportable_one_counts(self, port: Port) -> None:
        lines = [approved_line("a", "one"), approved_line("b"), approved_line("a", "two"), approved_line("a", " ")]
        verdicts = [one.verdict for one in port.mirror.adopt(port.epoch, A, lines)]
        assert verdicts == [Verdict.NEW, Verdict.NEW, Verdict.REPLACED, Verdict.DUPLICATE]
        assert exported(port.ledger) == ["b", "a"]
        assert port.now(A, "a").raw == lines[2].raw
        assert port.ledger.read(lambda r: r.stats(CandidateFilter())).export_ready == 2

    def test_an_adoption_that_breaks_off_leaves_nothing(self, port: Port) -> None:
        before = newest(port.ledger)
        outcomes = iter(port.mirror.adopt(port.epoch, C, (candidate_line(n) for n in range(3_000))))
        next(outcomes)
        del outcomes
        with port.mirror.view() as view:
            assert view.is_empty(C)
        assert newest(port.ledger) == before
        import_candidates(port.ledger, 2)
        with pytest.raises(NotEmpty):
            list(port.mirror.adopt(port.epoch, C, []))

    def test_a_foreign_line_is_taken_in_and_is_the_same_when_it_comes_again(self, port: Port) -> None:
        line = candidate_line(7)
        first = port.take_in(C, line)
        assert (first.verdict, first.now.source, first.now.raw) == (Verdict.NEW, Source.EXTERNAL, line.raw)
        before = newest(port.ledger)
        again = port.take_in(C, line)
        assert (again.verdict, again.now) == (Verdict.SAME, first.now)
        assert newest(port.ledger) == before
        assert port.actions("c7") == [("add", Source.EXTERNAL)]

    def test_all_lines_of_one_command_share_one_revision(self, port: Port) -> None:
        found = [Found(candidate_line(n)) for n in range(4)]
        outcomes = port.mirror.take_in(port.epoch, C, found, How.APPENDED, trusted=False)
        assert {one.now.revision for one in outcomes} == {newest(port.ledger)}

    def test_a_further_line_of_a_candidate_is_a_duplicate(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        before = port.now(C, "c0")
        outcome = port.take_in(C, candidate_line(0, note="other"), expected=port.expected(C, "c0"))
        assert (outcome.verdict, outcome.now) == (Verdict.DUPLICATE, before)

    def test_a_later_approved_line_counts_under_a_new_key_if_the_mirror_saw_the_record(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0", "ours")
        ours = port.now(A, "c0")
        assert port.take_in(A, approved_line("c0", "later")).verdict is Verdict.DUPLICATE
        assert port.take_in(A, approved_line("c0", " "), expected=port.expected(A, "c0")).verdict is Verdict.DUPLICATE
        outcome = port.take_in(A, approved_line("c0", "later"), expected=port.expected(A, "c0"))
        assert outcome.verdict is Verdict.REPLACED
        assert outcome.now.key > ours.key
        assert exported(port.ledger) == ["c0"]
        assert port.take_in(A, parse(ours.raw), expected=port.expected(A, "c0")).verdict is Verdict.STALE

    def test_an_old_version_is_stale_unless_the_file_is_trusted(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        old = parse(port.now(C, "c0").raw)
        correct(port.ledger, "c0")
        expected = port.expected(C, "c0")
        assert port.edit(C, old, expected).verdict is Verdict.STALE
        assert port.take_in(C, old, expected=expected).verdict is Verdict.STALE
        outcome = port.edit(C, old, expected, trusted=True)
        assert (outcome.verdict, outcome.now.raw) == (Verdict.EDITED, old.raw)

    def test_an_edit_is_accepted_once_and_noted(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        expected, line = port.expected(C, "c0"), candidate_line(0, note="edited")
        outcome = port.edit(C, line, expected)
        assert (outcome.verdict, outcome.now.source) == (Verdict.EDITED, Source.EXTERNAL)
        assert outcome.now.revision == newest(port.ledger)
        again = port.edit(C, line, expected)
        assert (again.verdict, again.now) == (Verdict.SAME, outcome.now)
        assert port.actions("c0") == [("edit", Source.EXTERNAL), ("import", Source.SERVICE)]

    def test_an_edit_of_what_has_changed_since_is_overruled_and_noted_once(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        expected, line = port.expected(C, "c0"), candidate_line(0, note="edited")
        correct(port.ledger, "c0", "ours")
        ours = port.now(C, "c0")
        outcome = port.edit(C, line, expected)
        assert outcome.verdict is Verdict.OVERRULED
        assert outcome.now == ours
        assert port.edit(C, line, expected).verdict is Verdict.STALE
        assert port.edit(C, line, expected, trusted=True).verdict is Verdict.OVERRULED
        assert [action for action, _ in port.actions("c0")] == ["overrule", "correct", "import"]

    def test_a_decision_and_its_undo_in_between_count_as_a_change(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        expected = port.expected(C, "c0")
        correct(port.ledger, "c0")
        undo(port.ledger, "c0")
        assert port.now(C, "c0").digest == expected.digest
        assert port.edit(C, candidate_line(0, note="edited"), expected).verdict is Verdict.OVERRULED
        assert port.delete(C, "c0", expected).verdict is Verdict.OVERRULED
        assert port.delete(C, "c0", Expected(expected.digest, None)).verdict is Verdict.DELETED

    def test_where_ours_has_not_reached_the_file_nothing_of_others_replaces_it(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        assert port.edit(C, candidate_line(0, note="edited"), ABSENT).verdict is Verdict.OVERRULED
        assert port.delete(C, "c0", ABSENT).verdict is Verdict.OVERRULED
        assert port.take_in(A, approved_line("c0", "theirs"), expected=ABSENT).verdict is Verdict.DUPLICATE

    @pytest.mark.parametrize("keeps_ours", [True, False])
    def test_a_fresh_edit_over_a_decision_counts_if_it_holds_what_the_decision_set(
        self, port: Port, keeps_ours: bool
    ) -> None:
        import_candidates(port.ledger, 1)
        decided = json.loads(correct(port.ledger, "c0", "ours").raw)
        edited = decided | {"note": "theirs"} | ({} if keeps_ours else {"corrected_response": "theirs"})
        outcome = port.edit(C, parse(json.dumps(edited).encode()), port.expected(C, "c0"), fresh=True)
        assert outcome.verdict is (Verdict.EDITED if keeps_ours else Verdict.OVERRULED)
        before = len(port.actions("c0"))
        second = port.edit(A, parse(json.dumps(edited).encode()), port.expected(A, "c0"), fresh=True)
        assert second.verdict is (Verdict.EDITED if keeps_ours else Verdict.OVERRULED)
        assert len(port.actions("c0")) == before + 1

    def test_a_fresh_edit_of_a_record_that_was_never_another_is_accepted(self, port: Port) -> None:
        correction = Correction("kiwi", "qa", "p", "r", "c")
        id = port.ledger.write(lambda tx: ingest.ingest(tx, correction)).result().id
        record = json.loads(port.now(C, id).raw) | {"corrected_response": "better"}
        outcome = port.edit(C, parse(json.dumps(record).encode()), port.expected(C, id), fresh=True)
        assert outcome.verdict is Verdict.EDITED

    def test_without_an_index_an_edit_does_not_take_back_a_decision(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        believed = Expected(port.now(C, "c0").digest, None)
        assert port.edit(C, candidate_line(0, note="edited"), believed).verdict is Verdict.OVERRULED

    def test_a_deletion_is_accepted_and_is_no_bar_to_others_who_bring_the_record_back(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        old = parse(port.now(C, "c0").raw)
        assert port.delete(C, "c0", port.expected(C, "c0")).verdict is Verdict.DELETED
        assert port.ledger.read(lambda r: r.candidate("c0")) is None
        assert port.delete(C, "c0", ABSENT).verdict is Verdict.DELETED
        assert port.actions("c0")[0] == ("remove", Source.EXTERNAL)
        assert port.take_in(C, old, How.LATE).verdict is Verdict.STALE
        back = port.take_in(C, old, How.REWRITTEN)
        assert back.verdict is Verdict.NEW
        assert back.now.removed_revision > 0

    def test_what_the_service_removed_comes_back_by_nobody_else(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        removed = parse(port.now(A, "c0").raw)
        undo(port.ledger, "c0")
        for how in How:
            assert port.take_in(A, removed, how).verdict is Verdict.STALE
        edited = approved_line("c0", "theirs")
        assert port.take_in(A, edited, How.REWRITTEN, removal_fresh=True).verdict is Verdict.STALE
        assert port.take_in(A, edited, How.REWRITTEN).verdict is Verdict.STALE
        assert [action for action, _ in port.actions("c0")].count("overrule") == 1
        assert port.take_in(A, approved_line("c0", "appended"), removal_fresh=True).verdict is Verdict.NEW

    def test_an_edit_or_a_deletion_of_a_removed_record_changes_nothing(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        expected = port.expected(A, "c0")
        undo(port.ledger, "c0")
        gone = port.now(A, "c0")
        assert port.edit(A, approved_line("c0", "theirs"), expected).verdict is Verdict.OVERRULED
        assert port.delete(A, "c0", expected) == Outcome(Verdict.DELETED, gone)

    def test_another_spelling_is_kept_and_is_no_change(self, port: Port) -> None:
        line = approved_line("a")
        port.take_in(A, line)
        before = newest(port.ledger)
        again = parse(b'{"corrected_response":"x","id":"a","status":"approved"}')
        [outcome] = port.mirror.respell(port.epoch, A, [("a", port.expected(A, "a"), again)])
        assert (outcome.verdict, outcome.now.raw, outcome.now.revision) == (Verdict.SAME, again.raw, before)
        assert newest(port.ledger) == before
        assert port.actions("a") == [("add", Source.EXTERNAL)]
        [stale] = port.mirror.respell(port.epoch, A, [("a", Expected(b"other", before), line)])
        assert stale.verdict is Verdict.OVERRULED

    def test_past_versions_are_known_and_the_present_one_is_not(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        old = port.now(C, "c0").digest
        correct(port.ledger, "c0")
        new = port.now(C, "c0").digest
        with port.mirror.view() as view:
            assert view.knows(C, [("c0", old), ("c0", new), ("c1", old)]) == {("c0", old)}
            assert view.knows(A, [("c0", old)]) == set()

    def test_a_mirror_that_was_taken_over_is_fenced_from_every_command(self, port: Port) -> None:
        import_candidates(port.ledger, 1)
        old, before = port.epoch, newest(port.ledger)
        assert port.mirror.take_over() == old + 1
        line, expected = candidate_line(0, note="edited"), port.expected(C, "c0")
        commands = [
            lambda: list(port.mirror.adopt(old, A, [])),
            lambda: port.mirror.take_in(old, C, [Found(line)], How.APPENDED, trusted=False),
            lambda: port.mirror.accept_edits(old, C, [Edit("c0", expected, line)], trusted=False),
            lambda: port.mirror.accept_deletions(old, C, [("c0", expected)]),
            lambda: port.mirror.respell(old, C, [("c0", expected, line)]),
            lambda: port.mirror.set_report(old, C, FileReport(START, 0, 0)),
        ]
        for command in commands:
            with pytest.raises(Fenced):
                command()
        assert newest(port.ledger) == before

    def test_a_report_is_kept_and_counts_in_the_stats(self, port: Port) -> None:
        with port.mirror.view() as view:
            assert view.report(C) is None
        report = FileReport(Cursor(7, 3), malformed=2, duplicate_ids=5, pending=1, behind_since=1.5, clean=True)
        port.mirror.set_report(port.epoch, C, report)
        port.mirror.set_report(port.epoch, A, FileReport(START, 10, 20))
        port.mirror.set_report(port.epoch, A, FileReport(START, 1, 2))
        with port.mirror.view() as view:
            assert view.report(C) == report
        stats = port.ledger.read(lambda r: r.stats(CandidateFilter()))
        assert (stats.malformed, stats.duplicate_ids) == (3, 7)

    def test_a_cursor_before_what_was_pruned_is_expired_and_nothing_is_pruned_before_the_files_have_it(
        self, port: Port
    ) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        undo(port.ledger, "c0")
        removed = newest(port.ledger)
        correct(port.ledger, "c0")

        def prune(tx: Any) -> None:
            tx.pruning.raise_floors(Floors(0, tx.revision(), tx.revision()))
            while tx.pruning.prune(100):
                pass

        port.ledger.write(prune).result()
        with port.mirror.view() as view:
            assert view.changes(A, START, 9)
        for file in File:
            port.mirror.set_report(port.epoch, file, FileReport(Cursor(removed, 1 << 40), 0, 0))
        port.ledger.write(prune).result()
        with port.mirror.view() as view:
            with pytest.raises(FeedExpired):
                view.changes(A, Cursor(removed - 1, 1), 9)
            assert [one.id for one in view.changes(A, Cursor(removed, 1 << 40), 9)] == ["c0"]

    def test_the_head_names_the_ledger_its_revision_and_the_mirror_that_may_write(self, port: Port) -> None:
        with port.mirror.view() as view:
            head = view.head()
        assert (head.revision, head.epoch) == (newest(port.ledger), port.epoch)
        assert len(head.incarnation) == 32

    def test_a_malformed_line_is_refused(self, port: Port) -> None:
        with pytest.raises(ValueError):
            port.take_in(C, parse(b"{torn"))
        with pytest.raises(ValueError):
            list(port.mirror.adopt(port.epoch, C, [parse(b"{torn")]))
