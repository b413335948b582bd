"""How results look to people: tables, panels, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table

from avocet_client.cli.screen import text
from avocet_client.v1 import corrections_pb2 as pb

BAR_WIDTH = 30


def runs_table(runs: Sequence[pb.Run]) -> RenderableType:
    """Return the benchmark runs."""
    table = _table("run", "candidates", "malformed", "imported")
    for run in runs:
        imported = "yes" if run.already_imported else "no"
        table.add_row(text(run.run_id), f"{run.candidate_count:,}", f"{run.malformed_count:,}", imported)
    return table if runs else text("There are no runs; set their directory with: avocet config --bench-results-dir DIR")


def queue_table(response: pb.QueueResponse) -> RenderableType:
    """Return a page of the queue."""
    table = _table("id", "task type", "model", "quality", "why it failed")
    for item in response.items:
        quality = f"{item.quality_score:.2f}" if item.HasField("quality_score") else ""
        cells = (item.id, item.task_type, item.model_name, quality, item.failure_reason)
        table.add_row(*(text(cell) for cell in cells))
    shown = f"{len(response.items):,} of {response.total:,} in review"
    more = f"; the next page: --page-token {response.next_page_token}" if response.next_page_token else ""
    return Group(table, text(shown + more, style="dim", overflow="fold"))


def stats_bars(stats: pb.StatsResponse) -> RenderableType:
    """Return the counts, each group with bars in proportion."""
    groups: dict[str, Mapping[str, int]] = {
        "status": stats.by_status,
        "failure category": stats.by_failure_category,
        "task type": stats.by_task_type,
        "model": stats.by_model,
        "source": stats.by_source,
    }
    tables: list[RenderableType] = [_bars(title, counts) for title, counts in groups.items() if counts]
    line = f"{stats.total:,} candidates, {stats.export_ready:,} ready to export, revision {stats.revision}"
    trouble = f"{stats.malformed:,} malformed lines, {stats.duplicate_ids:,} repeated ids in the shared files"
    tables.append(text(line, style="bold"))
    if stats.malformed or stats.duplicate_ids:
        tables.append(text(trouble, style="yellow"))
    if stats.unexportable:
        reasons = ", ".join(f"{count:,} for {reason}" for reason, count in sorted(stats.unexportable.items()))
        tables.append(text(f"approved, but not exported: {reasons}", style="yellow"))
    return Group(*tables)


def _bars(title: str, counts: Mapping[str, int]) -> RenderableType:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    most = max(counts.values())
    for name, count in sorted(counts.items(), key=lambda each: -each[1]):
        table.add_row(text(name), f"{count:,}", Bar(most, 0, count, width=BAR_WIDTH, color="cyan"))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
