"""Undo over several steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.review.reviewer import (
    ENTER,
    HINT,
    TYPED,
    Reviewers,
    candidate,
    correct,
    discard,
    drafts,
    holders,
    press,
    status,
)
from tests.client.terminal import Terminal
from tests.support import Server, record, write_records


def test_every_decision_is_taken_back_one_after_another_and_held_again(terminal: Terminal, reviewed: Server) -> None:
    correct(terminal)
    discard(terminal)
    press(terminal, "f", "What was wrong?")
    press(terminal, "f")
    for id in ("three", "two", "one"):
        screen = press(terminal, "u")
        assert f"{id} is in review again." in screen and f"reason of {id}" in screen
        assert holders(reviewed)[id] == "kim"
    assert "There is nothing to undo." in press(terminal, "u")
    assert holders(reviewed) == dict.fromkeys(("one", "two", "three", "four"), "kim")
    assert "1 of 4" in terminal.display
    for id in ("one", "two", "three"):
        assert f"{id} is discarded." in discard(terminal)
        assert status(reviewed, id) == "discarded"
    press(terminal, "q", "3 discarded, 3 undone")
    terminal.end()
    assert holders(reviewed) == {}


def test_an_undone_correction_is_offered_again(terminal: Terminal, reviewed: Server, editor: Path) -> None:
    correct(terminal)
    assert not drafts(Path(terminal.home))
    assert "A correction that you typed" in press(terminal, "u")
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "And more." >> "$1"\n')
    correct(terminal)
    assert candidate(reviewed, "one").corrected_response == f"{TYPED}\nAnd more."


def test_a_skipped_candidate_comes_back_and_why_it_is_not_held_is_said(terminal: Terminal, reviewed: Server) -> None:
    press(terminal, "s")
    screen = press(terminal, "u")
    assert "reason of one" in screen and "since you skipped it" in screen
    assert holders(reviewed) == {"two": "kim"}
    assert "one is discarded." in discard(terminal)
    assert "reason of two" in terminal.display


def test_a_decision_that_somebody_changed_stays_and_the_one_before_can_be_undone(
    terminal: Terminal, reviewed: Server
) -> None:
    discard(terminal)
    discard(terminal)
    reviewed.stub.Undo(pb.UndoRequest(id="two"))
    reviewed.correct("two", "by lou", reviewer="lou")
    assert "It is left as it is" in press(terminal, "u")
    assert candidate(reviewed, "two").corrected_response == "by lou"
    assert "reason of one" in press(terminal, "u")
    assert status(reviewed, "one") == "needs_review"


def test_an_undone_candidate_that_somebody_else_takes_first_is_not_shown(begin: Reviewers, reviewed: Server) -> None:
    kim = begin(name="kim")
    kim.read_until(HINT)
    press(kim, "s")
    lou = begin(name="lou")
    assert "reason of one" in lou.read_until(HINT)
    screen = press(kim, "u")
    assert "one is not shown again: lou holds it now." in screen
    assert "one is discarded." in discard(lou)


@pytest.mark.files("the files are replaced while it is stopped")
def test_an_undone_candidate_among_many_of_the_same_prompt_is_held_alone(
    begin: Reviewers, stopped_server: Server
) -> None:
    messages = [{"role": "user", "content": "Why?"}]
    same = [record(f"s{n}", prompt_messages=messages, failure_reason=f"reason {n}.") for n in range(8)]
    stopped_server.stop()
    write_records(stopped_server.candidates, same)
    stopped_server.start(within=60)
    terminal = begin("--address", stopped_server.address)
    assert "reason 0." in terminal.read_until(HINT)
    discard(terminal)
    assert "reason 0." in press(terminal, "u")
    assert holders(stopped_server) == {"s0": "kim", "s1": "kim"}
    press(terminal, "c", "What was wrong?")
    press(terminal, ENTER)
    assert "reason 1." in terminal.display
