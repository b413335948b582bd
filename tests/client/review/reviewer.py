"""What the tests of the review share: reviewers, what they press, and what the service says then."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from tests.client.terminal import Terminal
from tests.support import BIN, Server

HINT = "[q]uit"
ESCAPE = "\x1b"
ENTER = "\n"
TYPED = "Air scatters blue light."


def editor_of(home: Path) -> Path:
    """The editor in a home, which writes a correction; it is made if it is not there."""
    path = home / "editor"
    if not path.exists():
        home.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nsleep 0.01; echo "{TYPED}" > "$1"\n')
        path.chmod(0o755)
    return path


class Reviewers:
    """Begins reviews, and ends them all."""

    def __init__(self, server: Server, directory: Path) -> None:
        self._server = server
        self._directory = directory
        self._made: list[Terminal] = []

    def __call__(
        self,
        *flags: str,
        name: str = "kim",
        command: list[str] | None = None,
        variables: dict[str, str] | None = None,
        says_who: bool = True,
        **how: Any,
    ) -> Terminal:
        """Begin a review as `name`; `how` is a Terminal's, and another `command` may take its place."""
        home = self._directory / name
        editor = str(editor_of(home))
        mine = {"HOME": str(home), "TERM": "xterm", "EDITOR": editor, "VISUAL": "", "PAGER": ""}
        who = ["--reviewer", name] if says_who else []
        review = [str(BIN / "avocet"), "review", "--address", self._server.address, *who, *flags]
        self._made.append(Terminal(command or review, os.environ | mine | (variables or {}), **how))
        return self._made[-1]

    def close(self) -> None:
        for terminal in self._made:
            terminal.close()


def correct(terminal: Terminal, then: str = HINT) -> str:
    """Type a correction and say nothing about what was wrong; gives the screen after that."""
    terminal.press("c")
    terminal.read_until("What was wrong?")
    terminal.press(ENTER)
    return terminal.read_until(then)


def discard(terminal: Terminal, then: str = HINT) -> str:
    """Discard what is shown; gives the screen after that."""
    terminal.press("d")
    terminal.read_until("What was wrong?")
    terminal.press("d")
    return terminal.read_until(then)


def press(terminal: Terminal, key: str, then: str = HINT) -> str:
    """Press a key; gives the screen up to `then`."""
    terminal.press(key)
    return terminal.read_until(then)


def candidate(server: Server, id: str) -> pb.Candidate:
    return server.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate


def status(server: Server, id: str) -> str:
    return pb.CandidateStatus.Name(candidate(server, id).status).removeprefix("CANDIDATE_STATUS_").lower()


def holders(server: Server) -> dict[str, str]:
    """The holder of each claimed candidate, by its id."""
    items = server.stub.Queue(pb.QueueRequest(claims=pb.CLAIM_STATE_CLAIMED)).items
    return {item.id: item.claim.reviewer for item in items}


def drafts(home: Path) -> list[Path]:
    """The files of drafts in a home."""
    directory = home / ".local/state/avocet/drafts"
    return sorted(path for path in directory.rglob("*") if path.is_file())
