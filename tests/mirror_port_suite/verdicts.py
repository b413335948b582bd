"""The verdict on each line that another program wrote, edited or removed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction, Source
from avocet_grpc.core.ports.mirror import (
    ABSENT,
    Expected,
    Found,
    How,
    Outcome,
    Verdict,
)
from avocet_grpc.core.record import parse, render
from tests.ledger_suite import (
    candidate_line,
    correct,
    exported,
    import_candidates,
    newest,
    undo,
)
from tests.mirror_port_suite.support import A, C, Fresh, Port, approved_line


class VerdictRules(Fresh):
    """The verdict on each line that another program wrote, edited or removed."""

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
        assert port.take_in(A, edited, How.REWRITTEN, unseen=True).verdict is Verdict.STALE
        assert port.take_in(A, edited, How.REWRITTEN).verdict is Verdict.STALE
        assert [action for action, _ in port.actions("c0")].count("overrule") == 1
        assert port.take_in(A, approved_line("c0", "appended"), unseen=True).verdict is Verdict.NEW

    @pytest.mark.parametrize("kept", ["reviewed_at", "corrected_response"])
    def test_an_appended_line_that_has_what_only_the_removed_version_had_is_an_edit_of_it(
        self, port: Port, kept: str
    ) -> None:
        import_candidates(port.ledger, 1)
        correct(port.ledger, "c0")
        removed: dict[str, Any] = json.loads(port.now(A, "c0").raw)
        undo(port.ledger, "c0")
        others = {"reviewed_at": "2026-01-02T03:04:05+00:00", "corrected_response": "theirs"}
        edited = render(removed | others | {kept: removed[kept]})
        assert port.take_in(A, edited, unseen=True).verdict is Verdict.STALE
        assert port.actions("c0")[0] == ("overrule", Source.EXTERNAL)
        again = render(removed | others | {kept: removed[kept], "note": "a minute later"})
        assert port.take_in(A, again).verdict is Verdict.NEW

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

    def test_a_malformed_line_is_refused(self, port: Port) -> None:
        with pytest.raises(ValueError):
            port.take_in(C, parse(b"{torn"))
        with pytest.raises(ValueError):
            list(port.mirror.adopt(port.epoch, C, [parse(b"{torn")]))
