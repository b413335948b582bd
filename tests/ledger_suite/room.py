"""A work reads no more at once than it may."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision, ExportSelection, Order, UndoRequest
from avocet_grpc.core.ports.ledger import Ledger, NoRoom, Reads
from tests.exports import exports
from tests.ledger_suite.support import ALL, Fresh, correct, import_candidates, newest, undo

LINE = 10_000
READS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "a record": (lambda r: r.candidate("c1"), LINE),
    "a page of the queue": (lambda r: r.queue(ALL, Order.FILE, None, 0, 3), 3 * LINE),
    "an ordered page of the queue": (lambda r: r.queue(ALL, Order.QUALITY, None, 0, 3), 3 * LINE),
    "a page of the list": (lambda r: r.listing.look((), ALL, Order.FILE, None, 3, 100), 3 * LINE),
    "candidates by their keys": (lambda r: r.listing.among([1, 2, 3], (), ALL), 2 * LINE),
    "a history": (lambda r: r.log.entries(None, 9, id="c0", newest_first=True, values=True), 2 * LINE),
    "a change": (lambda r: r.newest_change("c0", lambda e: e.action == "correct"), LINE),
}
"""Each with how many bytes it reads at least."""


class RoomRules(Fresh):
    """`core.ports.ledger.Reads`."""

    @pytest.fixture
    def large(self, ledger: Ledger) -> Ledger:
        import_candidates(ledger, 4, model_response="x" * LINE)
        correct(ledger, "c0", "y" * LINE)
        undo(ledger, "c0")
        ledger.write(lambda tx: review.submit(tx, Decision("c0", Action.FLAG))).result()
        undo(ledger, "c0")
        return ledger

    @pytest.mark.parametrize("kind", READS)
    def test_what_is_longer_than_a_work_may_read_is_not_read(self, large: Ledger, kind: str) -> None:
        read, least = READS[kind]
        with pytest.raises(NoRoom) as caught:
            large.read(Reads(read, (), least - 1))
        assert least - 1 < caught.value.size < 3 * least
        assert large.read(Reads(read, (), 5 * least)) == large.read(read)

    @pytest.mark.parametrize("kind", READS)
    def test_a_read_that_had_no_room_harms_no_later_one_of_the_same_connection(self, large: Ledger, kind: str) -> None:
        read, least = READS[kind]
        kept = list[NoRoom]()
        try:
            large.read(Reads(read, (), least - 1))
        except NoRoom as error:
            kept.append(error)

        def later(reader: Any) -> int:
            reader.revision()
            # The stack of the error goes, and what it held.
            kept.clear()
            gc.collect()
            return int(reader.revision())

        assert large.read(later) == newest(large)

    def test_older_changes_are_not_read_for_a_newer_one(self, large: Ledger) -> None:
        newer = large.read(Reads(lambda r: r.newest_change("c0", lambda e: e.action == "flag"), (), LINE // 2))
        assert newer is not None and newer.action == "flag"
        assert large.read(lambda r: r.newest_change("c0", lambda e: e.action == "none")) is None

    def test_a_change_without_room_changes_nothing_and_is_made_once_there_is_room(self, large: Ledger) -> None:
        flag = partial(review.submit, decision=Decision("c1", Action.FLAG, request_id="again"))
        before = newest(large)
        with pytest.raises(NoRoom):
            large.write(Reads(flag, ("c1",), LINE)).result()
        assert newest(large) == before
        made = large.write(Reads(flag, ("c1",), 2 * LINE)).result()
        assert newest(large) == made.revision == before + 1
        with pytest.raises(NoRoom):
            large.write(Reads(flag, ("c1",), LINE)).result()
        assert large.write(Reads(flag, ("c1",), 2 * LINE)).result() == made
        large.write(Reads(partial(review.undo, request=UndoRequest("c1")), (), 2 * LINE)).result()

    def test_an_example_longer_than_a_work_may_read_is_not_read(self, large: Ledger) -> None:
        correct(large, "c1")
        selection = ExportSelection(newest(large))
        batch = partial(_batch, selection=selection)
        with pytest.raises(NoRoom):
            large.read(Reads(batch, (), 5))
        found = large.read(Reads(batch, (), 1_000))
        assert found is not None and found.count == 1


def _batch(reader: Any, selection: ExportSelection) -> Any:
    return exports(reader).export_batch(selection, 0, 10, 1)
