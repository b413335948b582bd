"""A page of the benchmark runs."""

from __future__ import annotations

from avocet_grpc.core.ports.runs import Runs
from avocet_grpc.core.tokens import decode_token, encode_token, is_text


def is_run_name(name: str) -> bool:
    """Return whether this may be the name of a run: one component of a path, which leads nowhere else."""
    return name not in ("", ".") and ".." not in name and not any(c in name for c in "/\\\0")


def runs_page(runs: Runs, page_size: int, page_token: str) -> tuple[list[str], str]:
    """Return names of one page of runs, newest name first, and the next token (empty at the end)."""
    names = runs.names()
    if page_token:
        last = decode_token("runs", "", page_token, "page_token", is_text)
        names = [name for name in names if name < last]
    page = names[:page_size]
    return page, encode_token("runs", "", page[-1]) if len(names) > page_size else ""
