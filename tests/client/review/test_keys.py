"""The keys of the review: what each does, and how the review is left."""

from __future__ import annotations

import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.review.reviewer import (
    ENTER,
    ESCAPE,
    HINT,
    TYPED,
    Reviewers,
    candidate,
    correct,
    discard,
    press,
    status,
)
from tests.client.terminal import Terminal
from tests.support import BIN, Server

LFLAG = 3
IDLE = "[r]efresh"


def test_a_reviewer_corrects_discards_flags_skips_undoes_and_quits(begin: Reviewers, reviewed: Server) -> None:
    terminal = begin()
    screen = terminal.read_until(HINT)
    assert all(text in screen for text in ("Why is the sky blue, in case one?", "Because of the sea", "reason of one"))
    press(terminal, "c", "What was wrong?")
    assert "one is corrected." in press(terminal, "4")
    first = candidate(reviewed, "one")
    assert (first.corrected_response, first.failure_category) == (TYPED, pb.FAILURE_CATEGORY_WRONG_ANSWER)
    assert "reason of two" in terminal.screen
    assert "reason of three" in discard(terminal)
    assert status(reviewed, "two") == "discarded"
    screen = press(terminal, "u")
    assert "two is in review again." in screen and "reason of two" in screen
    assert status(reviewed, "two") == "needs_review"
    assert "reason of three" in press(terminal, "s")
    press(terminal, "f", "What was wrong?")
    assert "reason of four" in press(terminal, ENTER)
    flagged = candidate(reviewed, "three")
    assert (flagged.status, flagged.failure_category) == (pb.CANDIDATE_STATUS_MODEL_REJECTED, 0)
    press(terminal, "q", "1 corrected, 1 flagged, 1 skipped, 1 undone")
    assert terminal.end() == 0
    assert flagged.reviewed_by == "kim"
    assert status(reviewed, "four") == "needs_review"


@pytest.mark.parametrize("key", ["d", "f"])
def test_a_key_pressed_twice_decides_and_a_number_says_what_was_wrong(
    terminal: Terminal, reviewed: Server, key: str
) -> None:
    press(terminal, key, "What was wrong?")
    assert "reason of two" in press(terminal, key)
    press(terminal, key, "What was wrong?")
    press(terminal, "z", "What was wrong?")
    press(terminal, "6")
    one, two = candidate(reviewed, "one"), candidate(reviewed, "two")
    assert one.status == two.status != pb.CANDIDATE_STATUS_NEEDS_REVIEW
    assert (one.failure_category, two.failure_category) == (0, pb.FAILURE_CATEGORY_HALLUCINATION)


@pytest.mark.parametrize("key", ["c", "t", "d", "f"])
def test_escape_after_any_deciding_key_decides_nothing(
    terminal: Terminal, reviewed: Server, editor: Path, key: str
) -> None:
    if key == "t":
        editor.write_text('#!/bin/sh\nsleep 0.01; sed -i "s/call_1/call_2/" "$1"\n')
    press(terminal, key, "What was wrong?")
    assert "Nothing was decided." in press(terminal, ESCAPE)
    assert status(reviewed, "one") == "needs_review"
    assert "one is discarded." in discard(terminal)


def test_escape_goes_back_from_every_other_question_and_from_none(terminal: Terminal, reviewed: Server) -> None:
    assert "nothing to go back from" in press(terminal, ESCAPE)
    press(terminal, "c", "What was wrong?")
    press(terminal, ESCAPE)
    press(terminal, "q", "nothing was decided")
    assert terminal.end() == 0


def test_escape_at_the_question_about_an_unchanged_text_goes_back(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text("#!/bin/sh\nexit 0\n")
    press(terminal, "c", "y submits it")
    assert "Nothing was decided." in press(terminal, ESCAPE)
    assert status(reviewed, "one") == "needs_review"


def test_a_right_response_is_approved_as_it_is(terminal: Terminal, reviewed: Server, editor: Path) -> None:
    editor.write_text("#!/bin/sh\nexit 0\n")
    press(terminal, "c", "y submits it")
    press(terminal, "y", "What was wrong?")
    press(terminal, ENTER)
    one = candidate(reviewed, "one")
    assert (one.status, one.corrected_response) == (pb.CANDIDATE_STATUS_APPROVED, one.model_response)


def test_a_question_mark_explains_every_key(terminal: Terminal) -> None:
    screen = press(terminal, "?")
    for line in ("c  correct", "t  correct with", "d  discard", "f  flag", "s  skip", "u  undo", "p  read", "x  throw"):
        assert line in screen
    assert "q  quit" in screen and "Esc goes back" in screen


def test_the_end_of_the_queue_can_be_undone_and_looked_at_again(terminal: Terminal, reviewed: Server) -> None:
    for _ in range(3):
        discard(terminal)
    assert "The queue is empty." in discard(terminal, IDLE)
    press(terminal, ESCAPE, IDLE)
    assert "c  correct" in press(terminal, "?", IDLE)
    assert "reason of four" in press(terminal, "u")
    discard(terminal, IDLE)
    reviewed.stub.Undo(pb.UndoRequest(id="two"))
    assert "reason of two" in press(terminal, "r")
    discard(terminal, IDLE)
    press(terminal, "q", "5 discarded, 1 undone")
    assert terminal.end() == 0


def test_an_empty_queue_ends_at_once(begin: Reviewers) -> None:
    terminal = begin("--task-type", "nothing has it")
    assert "The queue is empty." in terminal.read_until("nothing was decided")
    assert terminal.end() == 0


def test_the_progress_counts_what_was_decided_and_skipped(begin: Reviewers, reviewed: Server) -> None:
    terminal = begin()
    assert "1 of 4\r\n" in terminal.read_until(HINT)
    assert "2 of 4\r\n" in discard(terminal)
    assert "3 of 4\r\n" in press(terminal, "s")
    reviewed.stub.Submit(pb.SubmitRequest(id="four", action=pb.ACTION_DISCARD))
    assert "2 of 3\r\n" in press(terminal, "u")


STARTS = {
    "by hand": "",
    "by a script in the background, which ignores SIGINT": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "on a terminal that sends Ctrl-C as a key": (
        "mode = termios.tcgetattr(0); mode[3] &= ~termios.ISIG; termios.tcsetattr(0, termios.TCSANOW, mode)"
    ),
}


@pytest.mark.parametrize("prepare", STARTS.values(), ids=STARTS.keys())
def test_an_interrupt_ends_the_review_and_keeps_what_was_decided(
    begin: Reviewers, reviewed: Server, prepare: str
) -> None:
    terminal = begin(prepare=prepare)
    terminal.read_until(HINT)
    discard(terminal)
    press(terminal, "\x03", "1 discarded")
    assert terminal.end() == 0
    assert status(reviewed, "one") == "discarded"


def test_signals_that_reach_another_thread_or_come_too_early_are_not_lost(begin: Reviewers) -> None:
    script = """if True:
        import signal, threading, time
        from avocet_client.cli.review.keys import Keys, Terminated
        def read(keys):
            try:
                return "read " + keys.read()
            except KeyboardInterrupt:
                return "interrupted"
            except Terminated:
                return "terminated"
        numbers = {"a": signal.SIGINT, "b": signal.SIGTERM, "c": signal.SIGHUP}
        for name, number in numbers.items():
            with Keys() as keys:
                thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
                thread.start()
                threading.Timer(0.3, lambda: signal.pthread_kill(thread.ident, number)).start()
                print(name, "1:", read(keys))
            with Keys() as keys:
                try:
                    signal.raise_signal(number)
                except (KeyboardInterrupt, Terminated):
                    pass  # as Python does in a finaliser
                print(name, "2:", read(keys))
        print("done")
    """
    terminal = begin(command=[sys.executable, "-c", script])
    screen = terminal.read_until("done")
    for name, outcome in (("a", "interrupted"), ("b", "terminated"), ("c", "terminated")):
        assert f"{name} 1: {outcome}" in screen and f"{name} 2: {outcome}" in screen
    assert terminal.end() == 0


def test_an_arrow_key_decides_nothing(terminal: Terminal, reviewed: Server) -> None:
    for sequence in ("\x1b[D", "\x1b[1;5D", "\x1bOS", "\x1bd"):
        press(terminal, sequence)
    press(terminal, "q", "nothing was decided")
    assert status(reviewed, "one") == "needs_review"


def as_shells_have_it(mode: list[Any]) -> None:
    mode[LFLAG] |= termios.ICANON | termios.ECHO


def test_after_a_stop_the_keys_work_whatever_mode_the_shell_left(terminal: Terminal) -> None:
    terminal.set_mode(as_shells_have_it)
    terminal.send(signal.SIGCONT)
    press(terminal, "s", "reason of two")


def test_without_a_terminal_it_says_what_to_use(reviewed: Server) -> None:
    command = [str(BIN / "avocet"), "review", "-a", reviewed.address]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "avocet submit" in done.stderr


def test_a_reviewer_corrects_with_a_tool_call_and_mends_what_is_no_json(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; printf "{" > "$1"\n')
    assert "not JSON" in press(terminal, "t")
    message = '{"content": null, "tool_calls": [{"function": {"name": "now"}}]}'
    editor.write_text(f"#!/bin/sh\nsleep 0.01; grep -q '^{{$' \"$1\" && printf '%s' '{message}' > \"$1\"\n")
    press(terminal, "t", "What was wrong?")
    press(terminal, ENTER)
    assert candidate(reviewed, "one").corrected_response == '[{"function": {"name": "now"}}]'
    press(terminal, "q", "1 corrected")
    assert terminal.end() == 0


def test_a_template_of_a_tool_call_is_not_submitted_as_it_is(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text("#!/bin/sh\nexit 0\n")
    assert "Nothing was changed" in press(terminal, "t")
    assert status(reviewed, "one") == "needs_review"


def test_a_server_that_is_away_between_two_candidates_is_asked_again(terminal: Terminal, reviewed: Server) -> None:
    reviewed.listen = reviewed.address
    for _ in range(3):
        discard(terminal)
    discard(terminal, IDLE)
    reviewed.stub.Undo(pb.UndoRequest(id="two"))
    reviewed.kill()
    assert "UNAVAILABLE" in press(terminal, "r", IDLE)
    reviewed.start(within=60)
    tries = 0
    while "reason of two" not in press(terminal, "r", "[u]ndo"):
        tries += 1
        assert tries < 60
    terminal.read_until(HINT)
    press(terminal, "q", "4 discarded")
    assert terminal.end() == 0


def test_the_screen_keeps_what_was_typed_while_the_server_is_away(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "And more." >> "$1"\n')
    reviewed.listen = reviewed.address
    reviewed.kill()
    tries = 1
    while "one is corrected." not in correct(terminal):
        assert "Decide again" in terminal.screen and tries < 60
        if tries == 1:
            reviewed.start(within=60)
        tries += 1
    assert tries > 1
    assert candidate(reviewed, "one").corrected_response.count("And more.") == tries
