"""`avocet ingest`."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from avocet_client.bulk_state import Correction
from avocet_client.cli.lines import check_names, object_of, told
from avocet_client.cli.options import RequestId
from avocet_client.cli.plain import plain
from avocet_client.cli.session import Exit, Session
from avocet_client.words import counted

NAMES = [each.name for each in fields(Correction)]
REQUIRED = [each.name for each in fields(Correction) if each.default is MISSING]


def ingest(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(help="JSON lines with the keys below; '-' reads standard input.", allow_dash=True)
    ] = None,
    source: Annotated[str, typer.Option(help="Who sends it.")] = "",
    task_type: Annotated[str, typer.Option(help="The kind of task.")] = "",
    prompt: Annotated[str, typer.Option(help="What the model was asked.")] = "",
    response: Annotated[str, typer.Option(help="What it answered.")] = "",
    correction: Annotated[str, typer.Option(help="What it should have answered.")] = "",
    label: Annotated[str | None, typer.Option(help="A label of your own.")] = None,
    request_id: RequestId = None,
) -> int | None:
    """Store corrections: one from the flags, or many from a file.

    Each line of the file is an object with source, task_type, prompt and correction. It may have response, label and
    request_id. If the lines have request ids, a file that was ingested in part may be ingested again. A line that is
    refused does not hold up the others.
    """
    if file is not None:
        flags = {"source": source, "task-type": task_type, "prompt": prompt, "response": response}
        flags |= {"correction": correction, "label": label or "", "request-id": request_id or ""}
        if stated := [f"--{name}" for name, value in flags.items() if value]:
            raise ValueError(f"the lines of {file} say that themselves; leave {', '.join(stated)} out")
        return _ingest_many(session, file)
    stored = session.client.ingest(
        source=source,
        task_type=task_type,
        prompt=prompt,
        response=response,
        correction=correction,
        label=label,
        request_id=request_id,
    )
    session.show(plain(stored), lambda: f"{'stored' if stored.created else 'was stored before'} as {stored.id}")
    return None


def _ingest_many(session: Session, file: Path) -> int:
    session.reach()
    stored = again = 0
    with sys.stdin.buffer if str(file) == "-" else file.open("rb") as lines, session.err.status("ingesting") as status:
        corrections = _Lines(lines)
        try:
            for result in session.client.ingest_many(corrections):
                line = corrections.numbers.popleft()
                if result.error:
                    corrections.refuse(line, result.error)
                stored, again = stored + result.created, again + (not result.created and not result.error)
                status.update(counted(result.index + 1, "correction"))
        finally:
            _summarize(session, stored, again, corrections.refused)
    return Exit.REFUSED if corrections.refused else 0


def _summarize(session: Session, stored: int, again: int, refused: list[dict[str, Any]]) -> None:
    refused.sort(key=lambda each: each["line"])
    summary = f"{stored:,} stored, {again:,} stored before, {len(refused):,} refused"
    session.show({"stored": stored, "stored_before": again, "refused": refused}, lambda: summary)
    if not session.as_json:
        for each in refused:
            session.err.print(f"line {each['line']}: {each['error']}", style="red")


class _Lines:
    """The corrections of a file's lines; `numbers` are the lines of those whose results are still to come."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self.numbers: deque[int] = deque()
        self.refused: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[Correction]:
        for number, line in enumerate(self._lines, 1):
            if line.strip():
                try:
                    correction = _correction(object_of(line, number))
                except (TypeError, ValueError) as error:
                    self.refuse(number, error)
                else:
                    self.numbers.append(number)
                    yield correction

    def refuse(self, line: int, why: Exception) -> None:
        self.refused.append({"line": line, "error": told(why)})


def _correction(given: dict[str, Any]) -> Correction:
    """Return the correction of a line. Raises TypeError or ValueError if it is not one."""
    check_names(given, "a correction", NAMES, REQUIRED)
    stated = {name: value for name, value in given.items() if (name, value) != ("label", None)}
    if wrong := [name for name, value in stated.items() if not isinstance(value, str)]:
        raise TypeError(f"{', '.join(wrong)} must be a string")
    return Correction(**stated)
