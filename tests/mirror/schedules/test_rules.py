"""Each rule of the mirror matters: with one switched off, some schedule breaks a promise, and the oracle says which."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog

from tests.mirror.schedules.broken import RULES, first_caught
from tests.mirror.schedules.directed import DIRECTED

MOST = int(os.environ.get("SCHEDULES", "120")) * 5
"""How many schedules are tried before a rule counts as not needed."""
QUICK = (
    "lines that were noted before a removal leave",
    "a later line counts only over what stands in the file",
    "what the file owes outlives a kill",
    "a known version does not come back",
    "after a crash nothing is deleted, and no edit replaces a decision",
    "what was written just now is not deleted",
    "an edit over a fresh version must hold what it set",
    "without an index nothing is deleted",
    "the order in the file says which line counts",
    "damage is not a deletion",
    *DIRECTED,
)
"""Those that few schedules or a set piece find; the others are in the long form: SCHEDULES=2000."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("name", list(DIRECTED))
def test_a_set_piece_breaks_nothing_while_all_rules_hold(name: str) -> None:
    DIRECTED[name](lambda world: None)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(RULES) if MOST > 1_000 else QUICK)
def test_a_rule_that_is_switched_off_is_missed(name: str) -> None:
    caught = first_caught(name, range(MOST))
    assert caught is not None, f"{MOST} schedules did not find it"
