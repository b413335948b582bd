"""The command `avocet-grpc store copy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avocet_grpc.cli import output
from avocet_grpc.cli.data_directory import checked
from avocet_grpc.cli.paths import database_url, existing
from avocet_grpc.cli.progress import shown_progress
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.wording import NEEDS_DRIVER, counted, why

app = typer.Typer(no_args_is_help=True, help="Moves the ledger from one store to another.")


@app.callback()
def root() -> None:
    """Moves the ledger from one store to another."""


@app.command()
def copy(
    source: Annotated[
        Path,
        typer.Option("--from", metavar="DIR", parser=existing, callback=checked, help="The data directory."),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="URL", parser=database_url, help="postgres://USER@HOST[,HOST]/DATABASE")
    ],
) -> None:
    """Copy the ledger of a data directory into an empty PostgreSQL database; the service must be stopped.

    Revisions, history, request ids, claims, snapshots and tokens live on. It is one transaction: a copy that is
    interrupted leaves nothing, and may be run again. The data directory stays as it is.

        avocet-grpc store copy --from ./data --to postgres://avocet@db1,db2/avocet

    The password comes from PGPASSFILE, PGPASSWORD or the URL. Exit codes: 0 when the database has the ledger; 1 if it
    could not be copied; 2 for a wrong flag, also for a directory that is not there; 3 if a server has the data
    directory.
    """
    try:
        from avocet_grpc.maintenance.move import CannotMove, move
        from avocet_grpc.store.postgres.connect import DatabaseUnusable, shown
    except ImportError:
        typer.echo(f"avocet-grpc: {NEEDS_DRIVER}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    from avocet_grpc.maintenance.lock import DataDirectoryTaken
    from avocet_grpc.store.sqlite.integrity import LedgerUnusable

    try:
        with shown_progress("records") as progress:
            filled = move(source, to, progress)
    except DataDirectoryTaken as error:
        typer.echo(f"avocet-grpc: {error}; stop it first", err=True)
        raise typer.Exit(ExitCode.DIRECTORY_TAKEN) from None
    except (CannotMove, DatabaseUnusable, LedgerUnusable, OSError) as error:
        typer.echo(f"avocet-grpc: {why(error)}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    what = f"copied {counted(filled.rows, 'row')}" if filled.rows else "it was copied before"
    output.say(f"{shown(to)} has the ledger at revision {filled.revision}: {what}")
