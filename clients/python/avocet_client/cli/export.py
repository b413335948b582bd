"""`avocet export`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import avocet_client.strict_json as strict_json
from avocet_client.cli.openai_check import OpenAiCheck
from avocet_client.cli.session import Exit, Session
from avocet_client.export_options import ExportOptions
from avocet_client.exports import Export
from avocet_client.files import place_of
from avocet_client.jsonl import Progress as OnProgress
from avocet_client.render import Render, rows, to_dict, to_kto, to_openai, to_preference, to_sft
from avocet_client.words import counted

STANDARD_OUTPUT = Path("-")
SHOW_EACH = 1_000
"""Examples to standard output between two looks of the progress bar."""


class Format(StrEnum):
    """The rows that an export is written as."""

    ALL = "all"
    SFT = "sft"
    PREFERENCE = "preference"
    KTO = "kto"
    OPENAI = "openai"


RENDERERS: dict[Format, Render] = {
    Format.ALL: to_dict,
    Format.SFT: to_sft,
    Format.PREFERENCE: to_preference,
    Format.KTO: to_kto,
    Format.OPENAI: to_openai,
}


Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="Where to; '-' is standard output.", allow_dash=True)
]
Rows = Annotated[
    Format, typer.Option("--format", "-f", help="TRL's or OpenAI's rows, or all that there is of an example.")
]
Shard = Annotated[str, typer.Option(metavar="I/N", help="One of N disjoint shards, from 0/N.")]
Strict = Annotated[bool, typer.Option("--strict", help="With openai: end with an error if the format refuses a row.")]


def export(
    session: Session,
    options: ExportOptions,
    out: Out = STANDARD_OUTPUT,
    format: Rows = Format.ALL,
    shard: Shard = "0/1",
    strict: Strict = False,
) -> int | None:
    """Export the approved examples as JSON lines.

    FILE appears when it is complete. The same command again continues a download that was broken off. At the end,
    standard error has the numbers of examples and rows, if the rows went to standard output.

    Rows that OpenAI's format refuses are named. With --strict they are kept in FILE.refused, and FILE does not appear.
    """
    if strict and format is not Format.OPENAI:
        raise ValueError("--strict goes with --format openai, which alone has a check")
    index, count = _shard(shard)
    if out != STANDARD_OUTPUT:
        out = place_of(out)
    made = session.client.export(shard_index=index, shard_count=count, **options)
    session.reach()
    check = OpenAiCheck(session) if format is Format.OPENAI else None
    if out == STANDARD_OUTPUT:
        _print(session, made, RENDERERS[format], check)
    else:
        _write(session, made, out, RENDERERS[format], check, strict)
    if check is None:
        return None
    check.end()
    return Exit.NOT_VALID if strict and check.refused else None


def _shard(stated: str) -> tuple[int, int]:
    """Return the index and the number of shards. Raises ValueError."""
    matched = re.fullmatch(r"(\d{1,9})/(\d{1,9})", stated, re.ASCII)
    if matched is None or int(matched[1]) >= int(matched[2]):
        raise ValueError(f"--shard is I/N, from 0/N to N-1/N, for example 0/4; it is {stated}")
    return int(matched[1]), int(matched[2])


def _print(session: Session, made: Export, render: Render, check: OpenAiCheck | None) -> None:
    written = 0
    with _bar(session, wanted=not sys.stdout.isatty()) as show:
        for example in made:
            for row in rows(render, example):
                written += 1
                sys.stdout.write(strict_json.dumps(row) + "\n")
                if check is not None:
                    check.row(row)
            if made.consumed % SHOW_EACH == 0 or made.consumed == made.total:
                show(made.consumed, made.total or 0)
    sys.stdout.flush()
    session.err.print(_summary(made.consumed, written, made.revision))


def _write(session: Session, made: Export, out: Path, render: Render, check: OpenAiCheck | None, strict: bool) -> None:
    written = out.with_name(f"{out.name}.refused") if strict else out
    with _bar(session) as show:
        count = made.write_jsonl(written, render=render, on_progress=show)
    if check is not None:
        check.file(written)
    if strict and check is not None and not check.refused:
        os.replace(written, out)
        written = out
    session.show(
        {"examples": count, "rows": made.rows_written, "revision": made.revision, "out": str(written)},
        lambda: f"{_summary(count, made.rows_written, made.revision)} in {written}",
    )


def _summary(examples: int, rows: int, revision: int) -> str:
    return f"{counted(rows, 'row')} of {counted(examples, 'example')} of revision {revision}"


@contextmanager
def _bar(session: Session, wanted: bool = True) -> Iterator[OnProgress]:
    """A progress bar on standard error, if that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    disable = not (wanted and session.err.is_terminal)
    # Standard output is for the rows alone.
    with Progress(*columns, console=session.err, disable=disable, redirect_stdout=False) as progress:
        task = progress.add_task("exporting", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
