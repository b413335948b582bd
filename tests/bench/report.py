"""What a run found, as tables on the terminal, as plots, and in docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import anatomy
from tests.bench.results import Figure, Ratio, Results
from tests.bench.sides import ROOT

DOCS = ROOT / "docs"
KEPT = DOCS / "performance.json"
PAGE = DOCS / "performance.md"
PLOTS = DOCS / "performance"
BY_SIZE = ("Submit, 1 caller", "Queue, first page", "Queue, by token", "Stats", "StreamExport, first example")
ONE_CALL = ("gRPC, an empty call", "edge, and between threads", *anatomy.PARTS)
KINDS = {"Queue": "#1b6ca8", "Stats": "#c8553d"}
COLOURS = {"ours": "#1b6ca8", "floor": "#9aa5b1", "ledger": "#9aa5b1"}


def show(results: Results, console: Console) -> None:
    """The tables of figures and of targets."""
    table = Table(*_FIGURE_HEAD, title=results.machine)
    for figure in results.figures:
        table.add_row(*_figure_row(figure))
    console.print(table)
    table = Table(*_RATIO_HEAD)
    for ratio in results.ratios:
        table.add_row(*_ratio_row(ratio))
    console.print(table)


def write_docs(results: Results) -> None:
    """The kept results, the plots, and the parts of the page that are made of them."""
    results.save(KEPT)
    PLOTS.mkdir(exist_ok=True)
    for name, draw in _PLOTS.items():
        _plot(PLOTS / f"{name}.svg", draw, results)
    page = PAGE.read_text()
    parts = {
        "machine": results.machine,
        "targets": _markdown(_RATIO_HEAD, map(_ratio_row, results.ratios)),
        "figures": _markdown(_FIGURE_HEAD, map(_figure_row, results.figures)),
    }
    for name, text in parts.items():
        page = re.sub(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", rf"\g<1>{text}\g<2>", page, flags=re.DOTALL)
    PAGE.write_text(page)


_FIGURE_HEAD = ("work", "candidates", "side", "at", "median", "p99", "unit", "values")
_RATIO_HEAD = ("target", "candidates", "measured", "wanted", "met")


def _figure_row(f: Figure) -> tuple[str, ...]:
    p99 = f"{f.p99:,.2f}" if f.p99 else ""
    return (f.work, f"{f.size:,}", f.side, str(f.at or ""), f"{f.median:,.2f}", p99, f.unit, str(f.count))


def _ratio_row(r: Ratio) -> tuple[str, ...]:
    wanted = f"{'at most' if r.at_most else 'at least'} {r.target:,g} {r.unit}"
    return (r.name, f"{r.size:,}", f"{r.value:,.2f} {r.unit}", wanted, "yes" if r.met else "no")


def _markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plot(path: Path, draw: Callable[[Any, Results], None], results: Results) -> None:
    # Only the docs need it, and it takes half a second to import.
    import matplotlib

    matplotlib.use("svg")
    # The same results give the same file.
    matplotlib.rcParams["svg.hashsalt"] = path.name
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    draw(axes, results)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)


def _cost_by_size(axes: Any, results: Results) -> None:
    for work in BY_SIZE:
        points = sorted((f.size, f.median) for f in results.figures if f.work == work and f.side == "ours")
        axes.plot(*zip(*points, strict=True), "o-", label=work) if points else None
    axes.set(xscale="log", yscale="log", xlabel="candidates", ylabel="median, ms", title="Cost against store size")


def _filtered_by_size(axes: Any, results: Results) -> None:
    for work in dict.fromkeys(f.work for f in results.figures if ", filter: " in f.work):
        points = sorted((f.size, f.median) for f in results.figures if f.work == work)
        line = "o--" if work.endswith(": none") else "o-"
        axes.plot(*zip(*points, strict=True), line, label=work, color=KINDS.get(work.partition(",")[0]))
    axes.set(xscale="log", yscale="log", xlabel="candidates", ylabel="median, ms", title="Filtered calls: cost by size")


def _exports_by_kind(axes: Any, results: Results) -> None:
    kept = [r for r in results.ratios if r.name.endswith(": to prepared batches")]
    size = max((r.size for r in kept), default=0)
    kinds = {r.name.removeprefix("StreamExport, ").partition(":")[0]: r for r in kept if r.size == size}
    axes.bar([*kinds], [r.value for r in kinds.values()], color=COLOURS["ours"], label="first after a start")
    axes.plot([*kinds], [r.target for r in kinds.values()], "k_", markersize=40, label="wanted")
    axes.set(ylabel="examples/s, to prepared batches", title=f"Exports by kind, {size:,} candidates")


def _throughput_by_callers(axes: Any, results: Results) -> None:
    _curve(axes, results, "Submit by callers", "calls/s")
    axes.set(xscale="log", xlabel="callers", ylabel="Submit, calls/s", title="Throughput against callers")


def _export_by_batch(axes: Any, results: Results) -> None:
    _curve(axes, results, "StreamExport by batch size", "examples/s")
    axes.set(xscale="log", xlabel="examples a batch", ylabel="examples/s", title="Export against batch size")


def _one_call(axes: Any, results: Results) -> None:
    left = 0.0
    for part in sorted((f for f in results.figures if f.work == "one Submit"), key=lambda f: ONE_CALL.index(f.side)):
        axes.barh(["one Submit"], [part.median], left=left, label=f"{part.side}: {part.median:.0f} us")
        left += part.median
    axes.set(ylim=(-0.5, 2.5), yticks=[], xlabel="microseconds", title="Where the time of one Submit goes, one caller")


def _curve(axes: Any, results: Results, work: str, unit: str) -> None:
    kept = [f for f in results.figures if f.work == work and f.unit == unit]
    size = max((f.size for f in kept), default=0)
    for side in dict.fromkeys(f.side for f in kept):
        points = sorted((f.at, f.median) for f in kept if f.side == side and f.size == size)
        axes.plot(*zip(*points, strict=True), "o-", label=side, color=COLOURS.get(side))


_PLOTS = {
    "cost-by-size": _cost_by_size,
    "filtered-by-size": _filtered_by_size,
    "exports-by-kind": _exports_by_kind,
    "throughput-by-callers": _throughput_by_callers,
    "export-by-batch": _export_by_batch,
    "one-call": _one_call,
}
