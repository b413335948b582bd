"""The queue and its orders, counts, equal prompts, known runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_grpc.core import imports, queue
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    CandidateFilter,
    File,
    Order,
)
from avocet_grpc.core.ports.ledger import Ledger
from tests.ledger_suite.support import (
    ALL,
    Fresh,
    candidate_line,
    correct,
    exported,
    import_candidates,
    undo,
)


class ReadRules(Fresh):
    """The queue and its orders, counts, equal prompts, known runs."""

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

    def test_a_page_of_large_records_reads_no_more_than_a_page(self, ledger: Ledger) -> None:
        large = {n: {"model_response": "x" * 1_500_000, "quality_score": n / 9 if n % 2 else None} for n in range(9)}
        lines = [candidate_line(n, **more) for n, more in large.items()]
        ledger.write(lambda tx: imports.import_run(tx, "run", lines)).result()
        for order in (Order.FILE, Order.QUALITY, Order.QUALITY_DESC, Order.TIMESTAMP):
            page = ledger.read(lambda r, o=order: r.queue(ALL, o, None, 0, 501))
            assert 2 <= len(page) <= 3
            seen, after = list[str](), None
            while found := ledger.read(lambda r, o=order, a=after: r.queue(ALL, o, a, 0, 501)):
                seen += [json.loads(item.candidate.raw)["id"] for item in found]
                after = found[-1].position
            assert sorted(seen) == sorted(f"c{n}" for n in range(9))

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

    def test_runs_are_known_while_a_candidate_has_them(self, ledger: Ledger) -> None:
        import_candidates(ledger, 2, benchmark_run_id="night")
        assert ledger.read(lambda r: r.known_run_ids(["night", "day"])) == {"night"}
        for n in range(2):
            ledger.write(lambda tx, n=n: tx.remove(File.CANDIDATES, f"c{n}")).result()
        assert ledger.read(lambda r: r.known_run_ids(["night", "day"])) == set()
