"""How far a long command is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown_progress(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """Bars on a terminal; nothing elsewhere. Told what is done, how much of it, and of how much; `first` begins."""
    # 'serve' shares the command's modules, and has no use for these.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {first: bars.add_task(first, total=None)}

        def told(name: str, done: int, total: int) -> None:
            if name not in tasks:
                bars.update(tasks[first], total=1, completed=1)
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield told
