"""The tests are tested: each sabotaged build makes the test fail that is meant to catch it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.faults.sabotage import SABOTAGES, VARIABLE
from tests.faults.support import WHOLE
from tests.support import ROOT

CHOSEN = [name for name, sabotage in SABOTAGES.items() if WHOLE or not sabotage.slow]

PATIENCE_S = 1_200
"""For the slowest test on a busy machine."""


def run_sabotaged(name: str) -> subprocess.CompletedProcess[str]:
    """The test that is meant to catch it, in a process of its own."""
    sabotage = SABOTAGES[name]
    environment = {key: value for key, value in os.environ.items() if key not in ("FAULTS", "FAULT_ROUNDS")}
    environment[VARIABLE] = name
    if sabotage.slow:
        environment["FAULTS"] = "full"
    if sabotage.examples:
        environment["FAULT_ROUNDS"] = str(sabotage.examples)
    command = [sys.executable, "-m", "pytest", sabotage.caught_by, "-q", "-x", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("name", CHOSEN)
def test_a_sabotaged_build_is_caught(name: str) -> None:
    done = run_sabotaged(name)
    if "FAULT TEST LEFT OUT" in done.stdout:
        pytest.skip(f"{SABOTAGES[name].caught_by} is left out here")
    assert done.returncode == 1, (
        f"not caught by {SABOTAGES[name].caught_by}:\n{done.stdout[-2000:]}{done.stderr[-500:]}"
    )
    assert re.search(SABOTAGES[name].shown, done.stdout), f"failed in another way:\n{done.stdout[-3000:]}"
    assert re.search(r"\b1 failed", done.stdout)


def test_each_sabotage_names_a_test_that_passes_on_the_sound_build() -> None:
    """They are collected at least; the suite itself runs them."""
    named = {sabotage.caught_by for sabotage in SABOTAGES.values()}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *named]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-2000:]
    collected = {line for line in done.stdout.splitlines() if "::" in line}
    assert all(name in collected or any(one.startswith(f"{name}[") for one in collected) for name in named)
