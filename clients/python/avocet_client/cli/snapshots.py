"""`avocet snapshot`: revisions with names, which a training run is told."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avocet_client.cli.export import STANDARD_OUTPUT, Format, Out, Rows, Shard, Strict, export
from avocet_client.cli.options import RequestId
from avocet_client.cli.plain import plain
from avocet_client.cli.session import Exit, Session
from avocet_client.cli.tables import snapshots_table
from avocet_client.export_options import ExportOptions

Name = Annotated[str, typer.Argument(help="Small letters, digits, '.', '_' and '-', at most 100.")]


def create(
    session: Session,
    name: Name,
    at_revision: Annotated[int, typer.Option(min=0, metavar="REVISION", help="An earlier revision; 0 is now.")] = 0,
    note: Annotated[str, typer.Option(help="Words for people.")] = "",
    request_id: RequestId = None,
) -> None:
    """Give the approved examples of now, or of an earlier revision, a name. They are kept until it is deleted."""
    made = session.client.create_snapshot(name, at_revision=at_revision, note=note, request_id=request_id)
    session.show(plain(made), lambda: snapshots_table([made]))


def list_all(session: Session) -> None:
    """List the snapshots, newest first."""
    found = list(session.client.snapshots(page_size=500))
    session.show([plain(each) for each in found], lambda: snapshots_table(found))


def show(session: Session, name: Name) -> None:
    """Show one snapshot."""
    found = session.client.get_snapshot(name)
    session.show(plain(found), lambda: snapshots_table([found]))


def delete(
    session: Session,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. A program must say so.")] = False,
) -> int | None:
    """Delete a snapshot. What it alone kept is pruned after 7 days; the candidates themselves stay."""
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ValueError("a snapshot that is deleted cannot be had back; without a terminal confirm it with --yes")
        try:
            deletes = typer.confirm(f"Delete the snapshot {name!r}? It cannot be had back", err=True)
        except typer.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            deletes = False
        if not deletes:
            session.err.print("Nothing was deleted.")
            return Exit.REFUSED
    session.client.delete_snapshot(name)
    session.show({"deleted": name}, lambda: f"deleted {name}")
    return None


def export_snapshot(
    session: Session,
    name: Name,
    options: ExportOptions,
    out: Out = STANDARD_OUTPUT,
    format: Rows = Format.ALL,
    shard: Shard = "0/1",
    strict: Strict = False,
) -> int | None:
    """Export the examples of a snapshot as JSON lines: byte for byte the same each time."""
    if options["snapshot"] not in ("", name):
        raise ValueError("the snapshot is named as the argument; leave --snapshot out")
    session.client.get_snapshot(name)
    options["snapshot"] = name
    return export(session, options, out, format, shard, strict)
