"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.sabotage import break_as_asked
from tests.faults.support import new_seed
from tests.support import Server

break_as_asked()


@pytest.fixture
def acks() -> Acks:
    """An empty ledger of acks, with a seed that a failure shows."""
    return Acks(new_seed())


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Server]:
    """A server, not started yet, to which the test does something bad."""
    server = Server(tmp_path)
    yield server
    server.kill()
