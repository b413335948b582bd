"""The ratios of two commits, each measured with this same benchmark, for a person to read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.paired import tree_of
from tests.bench.results import Ratio, Results
from tests.bench.sides import ROOT


def compare(base: str, flags: Sequence[str], console: Console) -> None:
    """Measure the service of commit `base`, then that of this tree, with the same flags of `run`."""
    with tree_of(base) as tree, tempfile.TemporaryDirectory() as directory:
        before, after = (_measure(source, flags, Path(directory)) for source in (tree, ROOT))
    table = Table("ratio to the floor of its own run", "candidates", base, "now", "change", "wanted")
    kept = {(ratio.name, ratio.size): ratio for ratio in before.ratios}
    for ratio in after.ratios:
        table.add_row(*_row(kept.get((ratio.name, ratio.size)), ratio))
    console.print(table)


def _measure(source: Path, flags: Sequence[str], directory: Path) -> Results:
    out = directory / f"{source.name}.json"
    command = [sys.executable, "-m", "tests.bench", "run", *flags, "--source", str(source), "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    return Results.load(out)


def _row(before: Ratio | None, after: Ratio) -> tuple[str, ...]:
    was = f"{before.value:,.2f}" if before else ""
    change = f"{100 * (after.value / before.value - 1):+.0f} %" if before and before.value else ""
    return (
        after.name,
        f"{after.size:,}",
        was,
        f"{after.value:,.2f}",
        change,
        f"{'at most' if after.at_most else 'at least'} {after.target:g}",
    )
