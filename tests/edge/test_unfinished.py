"""The budget of unfinished lines: which upload is ended."""

from __future__ import annotations

import gc
import weakref

import pytest

from avocet_grpc.core.errors import CorrectionsError, Overloaded
from avocet_grpc.edge.unfinished import UnfinishedLines


def test_the_upload_that_holds_most_is_ended_for_the_others() -> None:
    lines, ended = UnfinishedLines(100), list[CorrectionsError]()
    with lines.upload(ended.append) as greedy, lines.upload(lambda _: pytest.fail("not this one")) as modest:
        greedy.holds(70)
        modest.holds(30)
        assert not ended
        modest.holds(40)
        assert [type(error) for error in ended] == [Overloaded]
        modest.holds(100)
        assert len(ended) == 1, "what was ended no longer counts"


def test_an_upload_that_would_hold_most_is_refused_and_what_has_ended_counts_no_more() -> None:
    lines = UnfinishedLines(100)
    with lines.upload(lambda _: pytest.fail("not this one")) as modest:
        modest.holds(40)
        with pytest.raises(Overloaded), lines.upload(lambda _: None) as greedy:
            greedy.holds(61)
        modest.holds(100)
    with lines.upload(lambda _: None) as next_one:
        next_one.holds(100)


class Held:
    """Something large that a call holds."""


def test_what_a_refused_upload_held_is_freed_at_once() -> None:
    lines = UnfinishedLines(100)

    def refused() -> weakref.ref[Held]:
        held = Held()
        with lines.upload(lambda _: None) as upload:
            try:
                upload.holds(101)
            except Overloaded:
                return weakref.ref(held)
        pytest.fail("it was taken")

    gc.disable()
    try:
        assert refused()() is None
    finally:
        gc.enable()
