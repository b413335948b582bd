"""The change feed, adoption, fencing, reports and pruning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from avocet_grpc.core.model import CandidateFilter, File, ParsedLine, Source
from avocet_grpc.core.ports.mirror import (
    START,
    Changed,
    Cursor,
    Edit,
    FeedExpired,
    Fenced,
    FileReport,
    Found,
    How,
    NotEmpty,
    Verdict,
)
from avocet_grpc.core.ports.pruning import Floors
from avocet_grpc.core.record import content_of, parse
from tests.ledger_suite import (
    candidate_line,
    correct,
    exported,
    import_candidates,
    newest,
    undo,
)
from tests.mirror_port_suite.support import A, C, Fresh, Port, approved_line


class FollowingRules(Fresh):
    """The change feed, adoption, fencing, reports and pruning."""

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

    def test_long_lines_that_are_adopted_are_held_a_few_at_a_time(self, port: Port) -> None:
        read, held = list[int](), list[int]()

        def lines() -> Iterator[ParsedLine]:
            for n in range(40):
                read.append(n)
                yield candidate_line(n, model_response="x" * 1_000_000)

        for number, _ in enumerate(port.mirror.adopt(port.epoch, C, lines())):
            held.append(len(read) - number)
        assert len(held) == 40 and max(held) <= 9

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
            tx.pruning.raise_floors(Floors(0, tx.revision(), tx.revision(), tx.revision()))
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
