"""How results look to people: tables, bars. An id is never broken: it stands whole in its cell, or on its own line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import ConsoleOptions, Group, RenderableType
from rich.table import Table

from avocet_client.cli.screen import Canvas, Line, one_line, text
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import counted, status_word

BAR_WIDTH = 30
NARROWEST = 10
"""How many columns a cell other than the id needs, if it has so many."""
GAP = 2


class Listing:
    """Rows under titles, the first cell of each being what people copy.

    It is a table if that cell fits whole beside the others. If not, the cell has a line of its own, and the others
    stand below it.
    """

    def __init__(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        self._titles = titles
        self._rows = [[one_line(cell) for cell in row] for row in rows]

    def __rich_console__(self, console: Canvas, options: ConsoleOptions) -> Iterable[RenderableType]:
        """Yield the table, or the lines."""
        if self._width() <= options.max_width:
            yield self._table()
            return
        for first, *others in self._rows:
            yield Line(first)
            named = [f"{title}: {cell}" for title, cell in zip(self._titles[1:], others, strict=True) if cell]
            yield Line(f"  {'  '.join(named)}", style="dim")

    def _width(self) -> int:
        columns = list(zip(self._titles, *self._rows, strict=True))
        widths = [max(map(cell_len, column)) for column in columns]
        return widths[0] + sum(min(width, NARROWEST) for width in widths[1:]) + GAP * len(widths)

    def _table(self) -> Table:
        table = Table(box=None, header_style="bold", padding=(0, GAP, 0, 0))
        for number, title in enumerate(self._titles):
            table.add_column(title, overflow="fold", no_wrap=not number, min_width=None if number else self._first())
        for row in self._rows:
            table.add_row(*map(text, row))
        return table

    def _first(self) -> int:
        return max(cell_len(row[0]) for row in [self._titles, *self._rows])


def runs_table(runs: Sequence[pb.Run]) -> RenderableType:
    """Return the benchmark runs."""
    rows = [
        (run.run_id, f"{run.candidate_count:,}", f"{run.malformed_count:,}", "yes" if run.already_imported else "no")
        for run in runs
    ]
    if not rows:
        return text("There are no runs; set their directory with: avocet config --bench-results-dir DIR")
    return Listing(("run", "candidates", "malformed", "imported"), rows)


def queue_table(response: pb.QueueResponse) -> RenderableType:
    """Return a page of the queue."""
    rows = [
        (item.id, item.task_type, item.model_name, _quality(item), item.claim.reviewer, item.failure_reason)
        for item in response.items
    ]
    table = Listing(("id", "task type", "model", "quality", "held by", "why it failed"), rows)
    shown = Line(f"{len(response.items):,} of {response.total:,} in review", style="dim")
    return Group(table, shown, *_next_page(response.next_page_token))


def candidates_table(items: Sequence[pb.Candidate], next_page_token: str) -> RenderableType:
    """Return candidates of any status."""
    rows = [
        (item.id, status_word(item) or "other", item.task_type, item.model_name, _quality(item), item.reviewed_by)
        for item in items
    ]
    table = Listing(("id", "status", "task type", "model", "quality", "reviewer"), rows)
    return Group(table, Line(counted(len(items), "candidate"), style="dim"), *_next_page(next_page_token))


def snapshots_table(snapshots: Sequence[pb.Snapshot]) -> RenderableType:
    """Return the snapshots."""
    rows = [
        (each.name, str(each.revision), f"{each.example_count:,}", each.created_at.ToJsonString(), each.created_by,
         each.note)
        for each in snapshots
    ]  # fmt: skip
    if not rows:
        return text("There are no snapshots; make one with: avocet snapshot create NAME")
    return Listing(("name", "revision", "examples", "created", "by", "note"), rows)


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
    line = f"{counted(stats.total, 'candidate')}, {stats.export_ready:,} ready to export, revision {stats.revision}"
    malformed, repeated = counted(stats.malformed, "malformed line"), counted(stats.duplicate_ids, "repeated id")
    tables.append(text(line, style="bold"))
    if stats.claimed:
        tables.append(text(f"{stats.claimed:,} held by reviewers at this moment"))
    if stats.malformed or stats.duplicate_ids:
        tables.append(text(f"{malformed}, {repeated} in the shared files", style="yellow"))
    if stats.unexportable:
        reasons = ", ".join(f"{count:,} for {reason}" for reason, count in sorted(stats.unexportable.items()))
        tables.append(text(f"approved, but not exported: {reasons}", style="yellow"))
    return Group(*tables)


def _quality(candidate: pb.Candidate) -> str:
    return f"{candidate.quality_score:.2f}" if candidate.HasField("quality_score") else ""


def _next_page(token: str) -> list[RenderableType]:
    return [Line(f"the next page: --page-token {token}", style="dim")] if token else []


def _bars(title: str, counts: Mapping[str, int]) -> RenderableType:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    most = max(counts.values())
    for name, count in sorted(counts.items(), key=lambda each: -each[1]):
        table.add_row(text(name), f"{count:,}", Bar(most, 0, count, width=BAR_WIDTH, color="cyan"))
    return table
