"""The review in a real terminal: a pty whose keys the test presses and whose screen it reads."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.terminal import Terminal
from tests.support import BIN, Server, record, write_records

HINT = "[q]uit"
ESCAPE = "\x1b"
LFLAG = 3


@pytest.fixture
def reviewed(stopped_server: Server) -> Server:
    reasons = {id: f"reason of {id}" for id in ("one", "two", "three", "four")}
    write_records(stopped_server.candidates, [record(id, failure_reason=why) for id, why in reasons.items()])
    return stopped_server.start()


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """The reviewer's editor; a test may write another in its place."""
    path = tmp_path / "editor"
    path.write_text('#!/bin/sh\nsleep 0.01; echo "Air scatters blue light." > "$1"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def begin(reviewed: Server, editor: Path) -> Iterator[Callable[..., Terminal]]:
    """Begins a review in a terminal of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")}
    environment = kept | {"HOME": str(editor.parent), "TERM": "xterm", "EDITOR": str(editor), "VISUAL": ""}
    command = [str(BIN / "avocet"), "review", "--address", reviewed.address, "--reviewer", "kim"]
    made: list[Terminal] = []

    def start(command: list[str] = command, **changes: Any) -> Terminal:
        made.append(Terminal(command, environment, **changes))
        return made[-1]

    yield start
    for each in made:
        each.close()


@pytest.fixture
def terminal(begin: Callable[..., Terminal]) -> Terminal:
    return begin()


def candidate(server: Server, id: str) -> pb.Candidate:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate


def test_a_reviewer_corrects_discards_flags_skips_undoes_and_quits(terminal: Terminal, reviewed: Server) -> None:
    screen = terminal.read_until(HINT)
    assert all(text in screen for text in ("Why is the sky blue, in case one?", "Because of the sea", "reason of one"))
    terminal.press("c")
    terminal.read_until("What was wrong?")
    terminal.press("4")
    assert "one is corrected." in terminal.read_until(HINT)
    first = candidate(reviewed, "one")
    assert (first.corrected_response, first.failure_category) == (
        "Air scatters blue light.",
        pb.FAILURE_CATEGORY_WRONG_ANSWER,
    )
    assert "reason of two" in terminal.screen
    terminal.press("d")
    assert "reason of three" in terminal.read_until(HINT)
    assert candidate(reviewed, "two").status == pb.CANDIDATE_STATUS_DISCARDED
    terminal.press("u")
    screen = terminal.read_until(HINT)
    assert "two is in review again." in screen and "reason of two" in screen
    assert candidate(reviewed, "two").status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    terminal.press("s")
    assert "reason of three" in terminal.read_until(HINT)
    terminal.press("f")
    terminal.read_until("What was wrong?")
    terminal.press("x")
    assert "reason of four" in terminal.read_until(HINT)
    flagged = candidate(reviewed, "three")
    assert (flagged.status, flagged.failure_category) == (pb.CANDIDATE_STATUS_MODEL_REJECTED, 0)
    terminal.press("q")
    terminal.read_until("1 corrected, 1 flagged, 1 skipped, 1 undone")
    assert terminal.end() == 0
    assert flagged.reviewed_by == "kim"
    assert candidate(reviewed, "four").status == pb.CANDIDATE_STATUS_NEEDS_REVIEW


def test_what_somebody_else_decided_meanwhile_is_left_as_it_is(terminal: Terminal, reviewed: Server) -> None:
    terminal.read_until(HINT)
    reviewed.correct("one", "by somebody else")
    terminal.press("d")
    screen = terminal.read_until(HINT)
    assert "It is approved now, and is left as it is." in screen and "reason of two" in screen
    assert candidate(reviewed, "one").corrected_response == "by somebody else"
    for _ in range(2):
        terminal.press("s")
        terminal.read_until(HINT)
    terminal.press("s")
    terminal.read_until("The queue is empty.")
    assert terminal.end() == 0


def type_a_correction(terminal: Terminal) -> None:
    terminal.press("c")
    terminal.read_until("What was wrong?")
    terminal.press("x")


def test_a_correction_typed_while_somebody_else_decided_is_offered_again(terminal: Terminal, reviewed: Server) -> None:
    terminal.read_until(HINT)
    reviewed.correct("one", "by somebody else")
    type_a_correction(terminal)
    screen = terminal.read_until("Your correction is kept.")
    assert "status: approved" in screen and "by somebody else" in screen
    terminal.press("r")
    assert "reason of one" in terminal.read_until(HINT)
    type_a_correction(terminal)
    assert "one is corrected." in terminal.read_until(HINT)
    assert candidate(reviewed, "one").corrected_response == "Air scatters blue light."


def test_a_correction_of_a_candidate_that_changed_meanwhile_is_kept_for_it(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "And more." >> "$1"\n')
    terminal.read_until(HINT)
    reviewed.correct("one", "by somebody else")
    reviewed.stub.Undo(pb.UndoRequest(id="one"))
    type_a_correction(terminal)
    screen = terminal.read_until(HINT)
    assert "It has changed" in screen and "reason of one" in screen
    type_a_correction(terminal)
    assert "one is corrected." in terminal.read_until(HINT)
    assert candidate(reviewed, "one").corrected_response.count("And more.") == 2


def test_a_kept_correction_is_submitted_without_another_edit(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    terminal.read_until(HINT)
    terminal.press("c")
    terminal.read_until("What was wrong?")
    terminal.press(ESCAPE)
    assert "Nothing was decided." in terminal.read_until(HINT)
    editor.write_text("#!/bin/sh\nexit 0\n")
    terminal.press("c")
    terminal.read_until("y submits it")
    terminal.press("y")
    terminal.read_until("What was wrong?")
    terminal.press("x")
    assert "one is corrected." in terminal.read_until(HINT)
    assert candidate(reviewed, "one").corrected_response == "Air scatters blue light."


@pytest.mark.parametrize("end", ["q", "\x03"])
def test_a_correction_that_was_not_stored_is_in_a_file_at_the_end(
    terminal: Terminal, reviewed: Server, end: str
) -> None:
    terminal.read_until(HINT)
    reviewed.correct("one", "by somebody else")
    type_a_correction(terminal)
    terminal.read_until("Your correction is kept.")
    terminal.press("x")
    terminal.read_until(HINT)
    terminal.press(end)
    screen = terminal.read_until("nothing was decided")
    (path,) = re.findall(r"The correction of one was not stored; it is kept in (\S+\.md)", screen.replace("\r\n", ""))
    assert Path(path).read_text() == "Air scatters blue light."
    assert Path(path).stat().st_mode & 0o777 == 0o600
    Path(path).unlink()
    assert candidate(reviewed, "one").corrected_response == "by somebody else"


@pytest.mark.parametrize("key", ["f", "c"])
def test_escape_at_the_category_decides_nothing(terminal: Terminal, reviewed: Server, key: str) -> None:
    terminal.read_until(HINT)
    terminal.press(key)
    terminal.read_until("What was wrong?")
    terminal.press(ESCAPE)
    assert "Nothing was decided." in terminal.read_until(HINT)
    assert candidate(reviewed, "one").status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    terminal.press("d")
    assert "one is discarded." in terminal.read_until(HINT)


def as_shells_have_it(mode: list[Any]) -> None:
    mode[LFLAG] |= termios.ICANON | termios.ECHO


STARTS = {
    "by hand": "",
    "by a script in the background, which ignores SIGINT": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "on a terminal that sends Ctrl-C as a key": (
        "mode = termios.tcgetattr(0); mode[3] &= ~termios.ISIG; termios.tcsetattr(0, termios.TCSANOW, mode)"
    ),
}


@pytest.mark.parametrize("prepare", STARTS.values(), ids=STARTS.keys())
def test_an_interrupt_ends_the_review_and_keeps_what_was_decided(
    begin: Callable[..., Terminal], reviewed: Server, prepare: str
) -> None:
    terminal = begin(prepare=prepare)
    terminal.read_until(HINT)
    terminal.press("d")
    terminal.read_until("reason of two")
    terminal.read_until(HINT)
    terminal.press("\x03")
    terminal.read_until("1 discarded")
    assert terminal.end() == 0
    assert candidate(reviewed, "one").status == pb.CANDIDATE_STATUS_DISCARDED


def test_an_interrupt_that_reaches_another_thread_or_comes_too_early_is_not_lost(
    begin: Callable[..., Terminal],
) -> None:
    script = """if True:
        import signal, threading, time
        from avocet_client.cli.keys import Keys
        def interrupted(keys):
            try:
                return "read " + keys.read()
            except KeyboardInterrupt:
                return "interrupted"
        with Keys() as keys:
            thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
            thread.start()
            threading.Timer(0.3, lambda: signal.pthread_kill(thread.ident, signal.SIGINT)).start()
            print("1:", interrupted(keys))
        with Keys() as keys:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass  # as Python does in a finaliser
            print("2:", interrupted(keys), "done")
    """
    terminal = begin([sys.executable, "-c", script])
    screen = terminal.read_until("done")
    assert "1: interrupted" in screen and "2: interrupted" in screen
    assert terminal.end() == 0


def test_an_arrow_key_decides_nothing(terminal: Terminal, reviewed: Server) -> None:
    terminal.read_until(HINT)
    for sequence in ("\x1b[D", "\x1b[1;5D", "\x1bOS", "\x1bd"):
        terminal.press(sequence)
        terminal.read_until(HINT)
    terminal.press("q")
    terminal.read_until("nothing was decided")
    assert candidate(reviewed, "one").status == pb.CANDIDATE_STATUS_NEEDS_REVIEW


def test_after_a_stop_the_keys_work_whatever_mode_the_shell_left(terminal: Terminal) -> None:
    terminal.read_until(HINT)
    terminal.set_mode(as_shells_have_it)
    terminal.send(signal.SIGCONT)
    terminal.press("s")
    terminal.read_until("reason of two")


def test_ctrl_c_in_the_editor_is_the_editors_own(terminal: Terminal, editor: Path) -> None:
    editor.write_text(
        '#!/bin/sh\ntrap "echo \\"CAUGHT IT\\"" INT\necho "IN THE EDITOR"; read _; read _; echo "New." > "$1"\n'
    )
    terminal.read_until(HINT)
    terminal.press("c")
    terminal.read_until("IN THE EDITOR")
    terminal.press("\x03")
    terminal.read_until("CAUGHT IT")
    terminal.press("\n\n")
    terminal.read_until("What was wrong?")
    terminal.press("x")
    terminal.read_until("one is corrected.")


def test_an_editor_that_fails_changes_nothing(terminal: Terminal, editor: Path) -> None:
    editor.write_text("#!/bin/sh\nexit 1\n")
    terminal.read_until(HINT)
    terminal.press("c")
    assert "EDITOR" in terminal.read_until(HINT)
    terminal.press("q")
    terminal.read_until("nothing was decided")


def test_a_correction_outlives_a_server_that_is_away(terminal: Terminal, reviewed: Server, editor: Path) -> None:
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "And more." >> "$1"\n')
    terminal.read_until(HINT)
    reviewed.listen = reviewed.address
    reviewed.kill()
    tries = 1
    while "one is corrected." not in decide_anew(terminal):
        assert "Decide again" in terminal.screen and tries < 20
        if tries == 1:
            reviewed.start()
        tries += 1
    assert tries > 1
    assert candidate(reviewed, "one").corrected_response.count("And more.") == tries


def decide_anew(terminal: Terminal) -> str:
    """Correct the candidate; gives the screen after that."""
    terminal.press("c")
    terminal.read_until("What was wrong?")
    terminal.press("x")
    return terminal.read_until(HINT)


def test_without_a_terminal_it_says_what_to_use(reviewed: Server) -> None:
    command = [str(BIN / "avocet"), "review", "-a", reviewed.address]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "avocet submit" in done.stderr


def test_a_reviewer_corrects_with_a_tool_call_and_mends_what_is_no_json(
    terminal: Terminal, reviewed: Server, editor: Path
) -> None:
    terminal.read_until(HINT)
    editor.write_text('#!/bin/sh\nsleep 0.01; printf "{" > "$1"\n')
    terminal.press("t")
    assert "not JSON" in terminal.read_until(HINT)
    message = '{"content": null, "tool_calls": [{"function": {"name": "now"}}]}'
    editor.write_text(f"#!/bin/sh\nsleep 0.01; grep -q '^{{$' \"$1\" && printf '%s' '{message}' > \"$1\"\n")
    terminal.press("t")
    terminal.read_until("What was wrong?")
    terminal.press("x")
    terminal.read_until(HINT)
    assert candidate(reviewed, "one").corrected_response == '[{"function": {"name": "now"}}]'
    terminal.press("q")
    terminal.read_until("1 corrected")
    assert terminal.end() == 0
