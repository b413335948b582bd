"""The review in a real terminal: a pty whose keys the test presses and whose screen it reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import BIN, Server, record, write_records

HINT = "[q]uit"
WITHIN = 20.0


class Terminal:
    """A process on a terminal of its own, 100 columns wide."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C reaches it
        )
        os.close(theirs)
        self.screen = ""

    def press(self, key: str) -> None:
        self.screen = ""
        os.write(self._ours, key.encode())

    def read_until(self, text: str) -> str:
        """What came since the last key, up to `text`."""
        deadline = time.monotonic() + WITHIN
        while text not in self.screen:
            assert time.monotonic() < deadline, f"{text!r} did not come; the screen has:\n{self.screen}"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self._ours, 65_536)
                except OSError:
                    data = b""
                assert data or text in self.screen, f"it ended before {text!r}:\n{self.screen}"
                self.screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode(errors="replace"))
        return self.screen

    def end(self) -> int:
        return self._process.wait(timeout=WITHIN)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def reviewed(stopped_server: Server) -> Server:
    reasons = {id: f"reason of {id}" for id in ("one", "two", "three", "four")}
    write_records(stopped_server.candidates, [record(id, failure_reason=why) for id, why in reasons.items()])
    return stopped_server.start()


@pytest.fixture
def terminal(reviewed: Server, tmp_path: Path) -> Iterator[Terminal]:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsleep 0.01; echo "Air scatters blue light." > "$1"\n')
    editor.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")}
    environment = kept | {"HOME": str(tmp_path), "TERM": "xterm", "EDITOR": str(editor), "VISUAL": ""}
    command = [str(BIN / "avocet"), "review", "--address", reviewed.address, "--reviewer", "kim"]
    made = Terminal(command, environment)
    yield made
    made.close()


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
    assert '"reviewed_by": "kim"' in flagged.extra_json
    assert candidate(reviewed, "four").status == pb.CANDIDATE_STATUS_NEEDS_REVIEW


def test_what_somebody_else_decided_meanwhile_is_left_as_it_is(terminal: Terminal, reviewed: Server) -> None:
    terminal.read_until(HINT)
    reviewed.correct("one", "by somebody else")
    terminal.press("d")
    screen = terminal.read_until(HINT)
    assert "It is left as it is." in screen and "reason of two" in screen
    assert candidate(reviewed, "one").corrected_response == "by somebody else"
    for _ in range(2):
        terminal.press("s")
        terminal.read_until(HINT)
    terminal.press("s")
    terminal.read_until("The queue is empty.")
    assert terminal.end() == 0


def test_an_interrupt_ends_the_review_and_keeps_what_was_decided(terminal: Terminal, reviewed: Server) -> None:
    terminal.read_until(HINT)
    terminal.press("d")
    terminal.read_until("reason of two")
    terminal.read_until(HINT)
    terminal.press("\x03")
    terminal.read_until("1 discarded")
    assert terminal.end() == 0
    assert candidate(reviewed, "one").status == pb.CANDIDATE_STATUS_DISCARDED


def test_without_a_terminal_it_says_what_to_use(reviewed: Server) -> None:
    command = [str(BIN / "avocet"), "review", "-a", reviewed.address]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "avocet submit" in done.stderr
