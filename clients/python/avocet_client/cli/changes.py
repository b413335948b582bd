"""`avocet history` and `avocet watch`: what changed, who changed it, and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from avocet_client.cli.lines import object_of, told
from avocet_client.cli.options import ChangeActionName, words_of
from avocet_client.cli.plain import plain
from avocet_client.cli.screen import Line
from avocet_client.cli.session import Session
from avocet_client.files import place_of, replace_file
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.watches import Watch
from avocet_client.words import CandidateFilter, counted

PAGE = 500
Actions = Annotated[
    list[ChangeActionName] | None, typer.Option("--action", help="Only such changes. Repeat it for any of several.")
]


def history(
    session: Session,
    id: Annotated[str, typer.Argument(help="Of this candidate, with the values that changed. Else of all.")] = "",
    by: Annotated[
        list[str] | None, typer.Option("--reviewer", help="Only by this reviewer. Repeat it for any of several.")
    ] = None,
    actions: Actions = None,
    since: Annotated[
        int, typer.Option(min=0, metavar="REVISION", help="Only what changed after this revision; 'stats' has it.")
    ] = 0,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="Oldest first, instead of newest.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="How many at most; 0 for all.")] = 50,
) -> None:
    """List what changed and who changed it, newest first. For one id, also from what to what."""
    found = session.client.history(
        id=id, actors=by or (), actions=words_of(actions), since_revision=since, oldest_first=oldest_first,
        page_size=min(limit, PAGE) or PAGE,
    )  # fmt: skip
    changes = list(islice(found, limit or None))
    session.show([plain(change) for change in changes], lambda: _listing(changes))


def watch(
    session: Session,
    filter: CandidateFilter,
    since: Annotated[
        int, typer.Option(min=0, metavar="REVISION", help="Begin behind this revision; 0 is now. 'stats' has it.")
    ] = 0,
    actions: Actions = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FILE", help="Keep here where it stands, and go on from there."),
    ] = None,
    candidates: Annotated[
        bool, typer.Option("--candidates", help="With --json: each change has its candidate, as it is now.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="End after so many changes; 0 for never.")] = 0,
) -> None:
    """Print each change as it happens, until Ctrl-C. With --json each is a JSON object in one line.

    A connection that breaks is made again, and no change is missed or printed twice. With --state that holds over runs
    of the command too: a change is in the file once it is printed.
    """
    if state is not None and not since:
        # What is saved before the first change says where this run began.
        since = session.client.stats().revision
    changes = session.client.watch(
        since_revision=since, filter=filter, actions=words_of(actions), include_candidates=candidates
    )
    if state is not None:
        state = place_of(state)
        _resume(changes, state)
    session.reach()
    if state is not None:
        # Before a change is printed that could not be kept.
        _save(changes, state)
    try:
        for change in islice(changes, limit or None):
            _print(session, change)
            if state is not None:
                _save(changes, state)
    finally:
        changes.close()
        if state is not None:
            _save(changes, state)


def _print(session: Session, change: pb.Change) -> None:
    if session.as_json:
        print(json.dumps(plain(change)), flush=True)
    else:
        session.out.print(Line(_line(change)), end="", crop=False)
        session.out.file.flush()


def _listing(changes: Sequence[pb.Change]) -> RenderableType:
    lines: list[RenderableType] = []
    for change in changes:
        lines.append(Line(_line(change)))
        for field in change.fields:
            if field.before_json or field.after_json:
                lines.append(Line(f"    {field.name}: {field.before_json or '-'} -> {field.after_json or '-'}"))
    return Group(*lines, Line(counted(len(changes), "change"), style="dim"))


def _line(change: pb.Change) -> str:
    plainly: dict[str, Any] = plain(change)
    who = change.actor or ("another program" if plainly["source"] == "external" else "unknown")
    status = f"{change.status_before or '-'} -> {change.status_after or '-'}"
    where = " (approved file)" if plainly["file"] == "approved" else ""
    return f"{plainly['at']}  {change.revision}  {plainly['action']}  {change.id}  {status}  by {who}{where}"


def _resume(changes: Watch, state: Path) -> None:
    try:
        changes.load_state_dict(object_of(state.read_bytes(), 1))
    except FileNotFoundError:
        return
    except ValueError as error:
        raise ValueError(f"{state} is not a state of this watch; delete it to begin again ({told(error)})") from None


def _save(changes: Watch, state: Path) -> None:
    """Put the state in the place of the one before, whole at every moment."""
    replace_file(state, json.dumps(changes.state_dict()))
