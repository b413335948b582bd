"""The benchmark itself works: a short run gives a figure of every work, and no call of it fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import report
from tests.bench.__main__ import WORKS
from tests.bench.paired import COSTS
from tests.bench.report import PAGE
from tests.bench.results import Figure, Ratio, Results
from tests.bench.sides import ROOT


@pytest.mark.timeout(900)
def test_a_short_run_measures_every_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVOCET_BENCH_DIR", str(tmp_path / "data"))
    out = tmp_path / "results.json"
    flags = ["--size", "200", "--seconds", "0.2", "--rounds", "1", "--callers", "4", "--out", str(out)]
    done = _bench("run", *flags)
    results = Results.load(out)
    assert all(figure.median > 0 or figure.work == "one Submit" for figure in results.figures)
    assert all(f"200 candidates: {name}" in done.stdout for name in WORKS)
    assert len(results.ratios) > 12


@pytest.mark.timeout(300)
def test_two_commits_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVOCET_BENCH_DIR", str(tmp_path / "data"))
    done = _bench("compare", "HEAD", "--size", "50", "--rounds", "1", "--only", "stats")
    assert re.search(r"Stats.*\d\.\d+.*\d\.\d+.*[+-]\d+ %", done.stdout), done.stdout


@pytest.mark.timeout(300)
def test_the_cpu_of_two_commits_is_compared_by_turns() -> None:
    done = _bench("cpu", "HEAD", "--size", "50", "--rounds", "2", "--seconds", "0.2", "--callers", "4")
    for work in ("Submit", "Ingest"):
        rows = re.findall(rf"{work}: ([^│]*?)[\s│]+([\d,]+)[\s│]+([\d,]+)[\s│]+(\d\.\d\d) x", done.stdout)
        assert [name for name, *_ in rows] == [*COSTS.values()], done.stdout
        (serving, serving_now), (whole, whole_now), (wait, wait_now) = (
            (int(before.replace(",", "")), int(now.replace(",", ""))) for _, before, now, _ in rows
        )
        assert 0 < serving < whole and 0 < serving_now < whole_now
        assert wait > 0 and wait_now > 0
        assert all(0.2 < float(ratio) < 5 for *_, ratio in rows)


def test_the_page_is_made_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results("a machine", [Figure("Stats", "ours", 1000, "ms", 0.25)], [Ratio("Stats", 1000, 1.5, 2, True)])
    for name, path in {"KEPT": "performance.json", "PAGE": "performance.md", "PLOTS": "performance"}.items():
        monkeypatch.setattr(report, name, tmp_path / path)
    (tmp_path / "performance.md").write_text(PAGE.read_text())
    report.write_docs(results)
    page = (tmp_path / "performance.md").read_text()
    assert "| Stats | 1,000 | 1.50 x | at most 2 x | yes |" in page
    assert "| Stats | 1,000 | ours |  | 0.25 |" in page
    assert Results.load(tmp_path / "performance.json") == results
    assert all((tmp_path / path).exists() for path in re.findall(r"\((performance/.*?\.svg)\)", page))


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done
