"""The benchmark's command line: `python -m tests.bench run`, `compare` and `cpu`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.bench import beside, client, cpu, engines, held, kinds, reads, report, team, today, whole, writes
from tests.bench.compare import compare as compare_commits
from tests.bench.paired import paired
from tests.bench.results import Results, this_machine
from tests.bench.sides import ROOT
from tests.bench.stage import Stage, staged

WORKS: dict[str, Callable[[Stage], writes.Found]] = {
    "start": whole.start,
    "memory": whole.memory,
    "stats": reads.stats,
    "queue": reads.queue,
    "filters": kinds.filters,
    "export": reads.export,
    "client-export": client.client_export,
    "exports": kinds.exports,
    "export-curve": reads.export_curve,
    "lists": team.lists,
    "claims": team.claims,
    "watches": team.watches,
    "submit": writes.submit_one,
    "anatomy": whole.one_call,
    "cpu": cpu.cpu,
    "submit-many": writes.submit_many,
    "submit-curve": writes.submit_curve,
    "shared-file": whole.shared_file,
    "held-file": held.held_file,
    "legacy": today.against_today,
    "workers": engines.workers,
    "engines": engines.engines,
    "beside": beside.beside,
    "ingest": writes.ingest_many,
    "stream-ingest": writes.stream_ingest,
}
"""In this order: the last ones add records."""
SIZES = [1_000, 100_000]
ONCE = frozenset(
    {
        "anatomy",
        "beside",
        "cpu",
        "engines",
        "watches",
        "workers",
        "submit-many",
        "submit-curve",
        "export-curve",
        "ingest",
        "stream-ingest",
    }
)
ONCE_AT = 100_000
"""Of several sizes, what hardly depends on the size is measured at this one."""

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = Console(width=150)


@app.callback()
def root() -> None:
    """Measures this service, what its users have today, and the floors, in turn in the same run."""


@app.command()
def run(
    size: Annotated[list[int], typer.Option(help="Candidates of 2 KB; may be given again.")] = SIZES,
    callers: Annotated[int, typer.Option(help="How many call at once.")] = 32,
    seconds: Annotated[float, typer.Option(help="Of one round of one side.")] = 3.0,
    rounds: Annotated[int, typer.Option(help="Both sides are measured in turn so many times.")] = 3,
    only: Annotated[str, typer.Option(help=f"Comma-separated, of: {', '.join(WORKS)}.")] = "",
    out: Annotated[Path | None, typer.Option(help="JSON file that the results are added to.")] = None,
    docs: Annotated[bool, typer.Option(help="Add the results to docs/performance.md, and draw it again.")] = False,
    source: Annotated[Path, typer.Option(help="The source tree whose service is measured.")] = ROOT,
) -> None:
    """Measure, and print one table."""
    out = report.KEPT if docs else out
    results = Results.load(out) if out else Results()
    results.machine = this_machine()
    if unknown := set(only.split(",") if only else ()) - WORKS.keys():
        raise typer.BadParameter(f"no such work: {', '.join(sorted(unknown))}")
    for one in size:
        with staged(one, callers, seconds, rounds, source) as stage:
            for name in _works(only, one, size):
                console.print(f"[dim]{one:,} candidates: {name}[/dim]")
                results.take(WORKS[name](stage))
                if out:
                    results.save(out)
    results.take_growth()
    if out:
        results.save(out)
    report.show(results, console)
    if docs:
        # In the order in which they are kept.
        report.write_docs(Results.load(report.KEPT))


def _works(only: str, size: int, sizes: list[int]) -> list[str]:
    if only:
        return [name for name in WORKS if name in only.split(",")]
    return [name for name in WORKS if name not in ONCE or size == ONCE_AT or len(sizes) == 1]


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def compare(context: typer.Context, base: Annotated[str, typer.Argument(help="The commit to compare with.")]) -> None:
    """Measure the service of another commit, then this tree's; what follows BASE are flags of `run`."""
    compare_commits(base, context.args, console)


@app.command(name="cpu")
def cpu_by_turns(
    base: Annotated[str, typer.Argument(help="The commit to compare with.")],
    size: Annotated[int, typer.Option(help="Candidates of 2 KB.")] = 1_000,
    rounds: Annotated[int, typer.Option(help="Of each work and each commit.")] = 10,
    seconds: Annotated[float, typer.Option(help="Of one round at most.")] = 1.5,
    callers: Annotated[int, typer.Option(help="How many call at once.")] = 32,
) -> None:
    """Measure the CPU and the time of a Submit and an Ingest of another commit and of this tree, by turns."""
    paired(base, size, rounds, seconds, callers, console)


if __name__ == "__main__":
    app()
