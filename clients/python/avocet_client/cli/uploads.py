"""`avocet import` and `avocet upload`: candidates of a benchmark run."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from avocet_client.cli.options import OnConflictName, word
from avocet_client.cli.plain import plain
from avocet_client.cli.screen import Line, text
from avocet_client.cli.session import Session
from avocet_client.uploads import Sent
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ON_CONFLICTS, counted

OnConflict = Annotated[
    OnConflictName,
    typer.Option(
        "--on-conflict", help="If an id is known with other content: skip the record, or qualify its id by the run's."
    ),
]


def import_run(
    session: Session,
    run_id: Annotated[str, typer.Argument(help="From 'avocet runs'.")],
    on_conflict: OnConflict = OnConflictName.skip,
) -> None:
    """Take the candidates of a run that lies on the server into review. A second import of it does no harm."""
    with session.err.status(text(f"importing {run_id}")):
        done = session.client.import_run(run_id, on_conflict=ON_CONFLICTS[word(on_conflict)])
    session.show(plain(done), lambda: _outcome(done))


def upload(
    session: Session,
    path: Annotated[
        Path, typer.Argument(help="A run's directory, or its JSONL file; '-' is standard input.", allow_dash=True)
    ],
    run_id: Annotated[
        str, typer.Option("--run-id", metavar="ID", help="The run's id. The name of the directory, unless stated.")
    ] = "",
    on_conflict: OnConflict = OnConflictName.skip,
) -> None:
    """Send a run that lies here, and take its candidates into review. A second upload of it does no harm."""
    with _file(path, run_id) as file:
        session.reach()
        with _bar(session) as sent:
            done = session.client.upload_run(
                file, run_id=run_id, on_conflict=ON_CONFLICTS[word(on_conflict)], on_progress=sent
            )
    session.show(plain(done), lambda: _outcome(done))


def _outcome(done: pb.ImportResponse | pb.UploadRunResponse) -> RenderableType:
    words = f"{done.imported:,} imported, {done.skipped:,} known already, {counted(done.malformed, 'malformed line')}"
    if done.qualified:
        words += f", {done.qualified:,} taken under an id that begins with the run's"
    if done.conflicts:
        words += f", {done.conflicts:,} not taken: their ids are known with other content (--on-conflict qualify)"
    problems = [f"line {one.line}: {one.reason}{f' ({one.id})' if one.id else ''}" for one in done.problems]
    return Group(*map(Line, [words, *problems]))


@contextmanager
def _file(path: Path, run_id: str) -> Iterator[Path]:
    """The file to send; standard input is written to one first, since a broken upload is read again."""
    if str(path) != "-":
        yield path
        return
    if not run_id:
        raise ValueError("standard input has no name; give the run's with --run-id")
    with tempfile.NamedTemporaryFile(prefix="avocet-upload-", suffix=".jsonl") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        os.fsync(copy.fileno())
        yield Path(copy.name)


@contextmanager
def _bar(session: Session) -> Iterator[Sent]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    disable = not session.err.is_terminal
    with Progress(*columns, console=session.err, disable=disable, redirect_stdout=False) as progress:
        task = progress.add_task("uploading", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
