"""How results look to people: tables, panels, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from avocet_client.cli.screen import text
from avocet_client.messages import message_dict
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word, status_word

BAR_WIDTH = 30


def runs_table(runs: Sequence[pb.Run]) -> RenderableType:
    """The benchmark runs."""
    table = _table("run", "candidates", "malformed", "imported")
    for run in runs:
        imported = "yes" if run.already_imported else "no"
        table.add_row(text(run.run_id), f"{run.candidate_count:,}", f"{run.malformed_count:,}", imported)
    return table if runs else text("There are no runs; set their directory with: avocet config --bench-results-dir DIR")


def queue_table(response: pb.QueueResponse) -> RenderableType:
    """A page of the queue."""
    table = _table("id", "task type", "model", "quality", "why it failed")
    for item in response.items:
        quality = f"{item.quality_score:.2f}" if item.HasField("quality_score") else ""
        cells = (item.id, item.task_type, item.model_name, quality, item.failure_reason)
        table.add_row(*(text(cell) for cell in cells))
    shown = f"{len(response.items):,} of {response.total:,} in review"
    more = f"; the next page: --page-token {response.next_page_token}" if response.next_page_token else ""
    return Group(table, text(shown + more, style="dim", overflow="fold"))


def candidate_panel(candidate: pb.Candidate) -> RenderableType:
    """A candidate: what was asked, what was answered, what is wrong with it."""
    facts = {
        "status": status_word(candidate) or "another program's word",
        "category": category_word(candidate) or "",
        "source": candidate.source,
        "task": f"{candidate.task_type} {candidate.task_name}".strip(),
        "model": candidate.model_name,
        "quality": f"{candidate.quality_score:.2f}" if candidate.HasField("quality_score") else "",
        "revision": str(candidate.revision),
    }
    parts: list[RenderableType] = [
        text("  ".join(f"{name}: {value}" for name, value in facts.items() if value), style="dim")
    ]
    for message in candidate.prompt_messages:
        parts += [text(f"\n{message.role or 'message'}", style="bold cyan"), _content(message)]
    parts += [text("\nthe model's response", style="bold yellow"), text(candidate.model_response)]
    if candidate.failure_reason:
        parts += [text("\nwhy it failed", style="bold red"), text(candidate.failure_reason)]
    if candidate.HasField("corrected_response"):
        parts += [text("\nthe correction", style="bold green"), text(candidate.corrected_response)]
    return Panel(Group(*parts), title=text(candidate.id), title_align="left")


def stats_bars(stats: pb.StatsResponse) -> RenderableType:
    """The counts, each group with bars in proportion."""
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
    return Group(*tables)


def _bars(title: str, counts: Mapping[str, int]) -> RenderableType:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    most = max(counts.values())
    for name, count in sorted(counts.items(), key=lambda each: -each[1]):
        table.add_row(text(name), f"{count:,}", Bar(most, 0, count, width=BAR_WIDTH, color="cyan"))
    return table


def _content(message: pb.ChatMessage) -> RenderableType:
    shown = message_dict(message)
    content: Any = shown.pop("content", "")
    shown.pop("role", None)
    said = content if isinstance(content, str) else str(content)
    return text(said + "".join(f"\n{name}: {value}" for name, value in shown.items()))


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
