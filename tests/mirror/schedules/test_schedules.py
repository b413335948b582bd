"""Any order of decisions, other programs' writes, kills, power cuts and stops leaves the files and the ledger level."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog

from tests.mirror.schedules.run import run

COUNT = int(os.environ.get("SCHEDULES", "120"))
PARTS = 12


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.mark.timeout(max(300, COUNT * 10))
@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_loses_brings_back_or_doubles_anything(part: int) -> None:
    broken = {seed: what for seed in range(part, COUNT, PARTS) if (what := run(seed)[0])}
    assert broken == {}, "python -m tests.mirror.schedules.run 1 --seed N shows what happened"
