"""A mirror that stops while other servers go on has what was decided before the stop, and leaves the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision
from tests.mirror.in_process import SteppedClock, opened
from tests.support import record, records, write_records

COUNT = 400


class BusyClock(SteppedClock):
    """While the mirror sleeps, others work."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.meanwhile()


def test_a_stop_ends_though_others_decide_all_the_time_and_the_next_start_has_the_rest(tmp_path: Path) -> None:
    candidates = tmp_path / "sft_candidates.jsonl"
    write_records(candidates, [record(f"c{n}") for n in range(COUNT)])
    clock, decided = BusyClock(), list[str]()
    with opened(tmp_path, clock) as service:

        def decide() -> None:
            decision = Decision(f"c{len(decided)}", Action.DISCARD, "")
            service.do(lambda tx: review.submit(tx, decision))
            decided.append(decision.id)

        for _ in range(3):
            decide()
        before = len(decided)
        clock.meanwhile = decide
        assert service.mirror.stop(COUNT / 60)
        clock.meanwhile = lambda: None
        written = [one["id"] for one in records(candidates) if one["status"] == "discarded"]
        assert decided[:before] == written[:before] and len(written) < len(decided) < COUNT
        service.ledger.close()
        service.running = False
    with opened(tmp_path, SteppedClock()) as again:
        assert [one["id"] for one in records(candidates) if one["status"] == "discarded"] == decided
        assert again.stop()
