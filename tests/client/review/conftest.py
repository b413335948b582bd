"""Reviewers at terminals of their own, each with a home and an editor, at one real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.review.reviewer import Reviewers, editor_of
from tests.client.terminal import Terminal
from tests.support import Server, record, write_records

IDS = ("one", "two", "three", "four")


@pytest.fixture
def reviewed(stopped_server: Server) -> Server:
    write_records(stopped_server.candidates, [record(id, failure_reason=f"reason of {id}") for id in IDS])
    return stopped_server.start(within=60)


@pytest.fixture
def begin(reviewed: Server, tmp_path: Path) -> Iterator[Reviewers]:
    """Begins a review in a terminal of its own."""
    reviewers = Reviewers(reviewed, tmp_path)
    yield reviewers
    reviewers.close()


@pytest.fixture
def editor(tmp_path: Path) -> Path:
    """The editor of kim; a test may write another in its place."""
    return editor_of(tmp_path / "kim")


@pytest.fixture
def terminal(begin: Reviewers) -> Terminal:
    """The review of kim, at its first candidate."""
    terminal = begin()
    terminal.read_until("[q]uit")
    return terminal


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AVOCET_", "XDG_", "COLUMNS", "LINES"))]:
        monkeypatch.delenv(name)
