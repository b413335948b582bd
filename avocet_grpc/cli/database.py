"""The command `avocet-grpc migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from avocet_grpc.cli import output
from avocet_grpc.cli.paths import database_url
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.wording import NEEDS_DRIVER


def migrate(
    store: Annotated[
        str,
        typer.Option(
            parser=database_url, envvar="AVOCET_STORE", metavar="URL", help="postgres://USER@HOST[,HOST]/DATABASE"
        ),
    ],
) -> None:
    """Make the tables in a PostgreSQL database, or bring older ones up to date.

    Running it twice does no harm, even at the same time.

        avocet-grpc migrate --store postgres://avocet@db1,db2/avocet

    The password comes from PGPASSFILE, PGPASSWORD or the URL. Exit codes: 0 when it is done; 1 if it failed; 2 for
    a wrong flag.
    """
    try:
        import psycopg

        from avocet_grpc.store.postgres.connect import DatabaseUnusable, connect, shown
        from avocet_grpc.store.postgres.failure import text_of
        from avocet_grpc.store.postgres.migrate import migrate as bring_up_to_date
        from avocet_grpc.store.postgres.settings import refuse_if_unfit
    except ImportError:
        typer.echo(f"avocet-grpc: {NEEDS_DRIVER}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    try:
        with connect(store) as db:
            refuse_if_unfit(db)
            done = bring_up_to_date(db)
    except DatabaseUnusable as error:
        typer.echo(f"avocet-grpc: {error}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    except psycopg.Error as error:
        typer.echo(f"avocet-grpc: cannot use the database {shown(store)}: {text_of(error)}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    output.say(f"steps run: {', '.join(map(str, done))}" if done else "the tables are up to date")
