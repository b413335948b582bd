"""The benchmark itself works: a short run gives a figure of every work, and no call of it fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import WORKS
from tests.bench.results import Results
from tests.bench.sides import ROOT


@pytest.mark.timeout(300)
def test_a_short_run_measures_every_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVOCET_BENCH_DIR", str(tmp_path / "data"))
    out = tmp_path / "results.json"
    flags = ["--size", "200", "--seconds", "0.2", "--rounds", "1", "--callers", "4", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "run", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = Results.load(out)
    assert all(figure.median > 0 and figure.count > 0 for figure in results.figures)
    assert all(f"200 candidates: {name}" in done.stdout for name in WORKS)
    assert len(results.ratios) > 15
