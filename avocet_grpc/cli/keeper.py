"""The commands `avocet-grpc keeper status`, `keeper release` and `keeper take-over`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avocet_grpc.cli import output
from avocet_grpc.cli.paths import database_url, directory
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.layout import SHARED_FILES
from avocet_grpc.wording import NEEDS_DRIVER, counted, why

if TYPE_CHECKING:
    from avocet_grpc.core.ports.keeper import KeeperState
    from avocet_grpc.store.postgres.engine import PostgresLedger

RELEASE_WITHIN_S = 90.0
LOOK_EVERY_S = 0.2
NOBODY = "nobody keeps the files"

app = typer.Typer(
    no_args_is_help=True,
    help="""Who keeps the shared files of servers that share a database.

    Only one server over PostgreSQL has the shared files: the keeper. Every server that was started with --data-dir
    may become it, if that directory is the store's own. It takes in what other programs write to
    sft_candidates.jsonl and sft_approved.jsonl, and writes into them what any server decides. If it ends, calls go on.
    The files then stand still, whole and readable, and what other programs append waits in them.

    \b
    Restart it in the same directory:  avocet-grpc serve --store URL --data-dir DIR
    Move it to another machine:        avocet-grpc keeper release, copy DIR as it is, serve there
    The directory is lost:             avocet-grpc keeper take-over --store URL --data-dir NEW, serve there
    """,
)

Store = Annotated[
    str,
    typer.Option(
        "--store",
        parser=database_url,
        envvar="AVOCET_STORE",
        metavar="URL",
        help="postgres://USER@HOST[,HOST]/DATABASE",
    ),
]


@app.command()
def status(store: Store) -> None:
    """Say who keeps the files, since when nobody does, and what they lack.

        avocet-grpc keeper status --store postgres://avocet@db1,db2/avocet

    Exit codes: 0 if a server keeps the files; 1 if the database cannot be asked; 2 for a wrong flag; 7 if nobody keeps
    them.
    """
    with _opened(store) as ledger:
        state = ledger.keeper()
        typer.echo(_sentence(state))
        if state.refused:
            ago = max(0.0, state.now - state.refused_at)
            typer.echo(f"{state.refused} was refused {ago:.0f} s ago: it does not have the files of this store")
        if state.files_id:
            typer.echo(f"the files are {counted(state.lag_revisions, 'revision')} behind the store")
        with ledger.mirror().view() as view:
            for file, name in SHARED_FILES.items():
                if (report := view.report(file)) is not None:
                    typer.echo(f"{name}: {counted(report.pending, 'line')} waited when it was last looked at")
    if not state.is_kept:
        raise typer.Exit(ExitCode.NOT_KEPT)


@app.command()
def release(store: Store) -> None:
    """Make the keeper bring the files up to date and give them up; its server goes on serving calls.

    Use it to move the files to another server without stopping this one. It does not become the keeper again before it
    is restarted. Nobody keeps the files then, until a server is started that has their directory.

        avocet-grpc keeper release --store postgres://avocet@db1,db2/avocet

    Exit codes: 0 once the keeper has given the files up, or if nobody keeps them; 1 if it did not give them up within
    90 s, or if the database cannot be asked; 2 for a wrong flag.
    """
    from avocet_grpc.store.postgres.keeper import Lease

    with _opened(store) as ledger:
        lease, before = Lease(store, "", "", ""), ledger.keeper()
        if not lease.ask_for_release():
            output.say(NOBODY)
            return
        output.say(f"asked {before.place} to give the files up")
        deadline = time.monotonic() + RELEASE_WITHIN_S
        while (state := lease.state()).is_kept and state.holder == before.holder:
            if time.monotonic() > deadline:
                raise _refused("the keeper has not given the files up; its log says why")
            time.sleep(LOOK_EVERY_S)
        if state.is_kept:
            output.say(f"{state.place} keeps the files now")
        else:
            output.say(
                "nobody keeps the files now" if not state.holder else "the keeper is gone; nobody keeps the files"
            )


@app.command("take-over")
def take_over(
    store: Store,
    data_dir: Annotated[
        Path,
        typer.Option(
            parser=directory,
            envvar="AVOCET_DATA_DIR",
            metavar="DIR",
            help="Where the files are to be. Made if missing; need not be empty.",
        ),
    ],
) -> None:
    """Write both files from the store into another directory, which is the store's own from then on.

    Use it if the keeper's directory is lost. Whatever other programs had appended there and no keeper had read is lost
    with it; so are malformed lines and further lines of an id, which only the files have. If the old directory can
    still be read, copy all of it and serve from the copy: then nothing is lost.

    What is in the new directory is set aside in it, under a name with the time, and never deleted. No server may keep
    the files meanwhile; calls go on. A server that still has the old directory is refused it from then on.

        avocet-grpc keeper take-over --store postgres://avocet@db1,db2/avocet --data-dir ./data
        avocet-grpc serve --store postgres://avocet@db1,db2/avocet --data-dir ./data

    Exit codes: 0 when both files are whole and on the disk; 1 if that could not be done; 2 for a wrong flag; 3 if
    a server has the directory.
    """
    with _opened(store) as ledger:
        from avocet_grpc.core.errors import CorrectionsError
        from avocet_grpc.core.ports.mirror import Fenced
        from avocet_grpc.maintenance import take_over as work
        from avocet_grpc.maintenance.lock import DataDirectoryTaken
        from avocet_grpc.maintenance.private_directory import UnsafeDirectory
        from avocet_grpc.store.postgres.connect import shown

        asides = list[Path]()
        try:
            taken = work.take_over(ledger, store, shown(store), data_dir, asides.append)
        except DataDirectoryTaken as error:
            typer.echo(f"avocet-grpc: {error}; stop it first", err=True)
            raise typer.Exit(ExitCode.DIRECTORY_TAKEN) from None
        except (Fenced, work.FilesNotLevel):
            rest = "the files are not finished; a server with this --data-dir goes on with them"
            raise _refused(rest, *asides) from None
        except (work.CannotTakeOver, UnsafeDirectory, CorrectionsError, OSError) as error:
            raise _refused(why(error), *asides) from None
    lines = [f"wrote both files into {data_dir}; start a server with this --data-dir to keep them"]
    if taken.aside is not None:
        lines.append(f"what was there before is in {taken.aside}")
    if taken.malformed or taken.repeated:
        malformed, repeated = counted(taken.malformed, "malformed line"), counted(taken.repeated, "further line")
        lines.append(f"only the files before had {malformed} and {repeated} of an id")
    output.say(*lines)


def _sentence(state: KeeperState) -> str:
    age = max(0.0, state.now - state.seen_at)
    if state.is_kept:
        asked = "; it was asked to give them up" if state.release_wanted else ""
        return f"{state.place} keeps the files, seen {age:.1f} s ago (epoch {state.epoch}){asked}"
    if not state.files_id:
        return "nobody has ever kept the files of this store"
    seen = datetime.fromtimestamp(state.seen_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{NOBODY}; {state.place} did until {seen}, {age:.0f} s ago"


@contextmanager
def _opened(store: str) -> Iterator[PostgresLedger]:
    """The ledger of the command; every failure of the database ends it with one line."""
    try:
        import psycopg

        from avocet_grpc.core.errors import CorrectionsError
        from avocet_grpc.edge.convert.example import encode_example
        from avocet_grpc.store.postgres.connect import DatabaseUnusable
        from avocet_grpc.store.postgres.engine import PostgresLedger
        from avocet_grpc.store.postgres.failure import text_of
        from avocet_grpc.telemetry import logs
    except ImportError:
        raise _refused(NEEDS_DRIVER) from None
    logs.configure("error", take_stderr=False)
    try:
        ledger = PostgresLedger(store, encode_example, warns=False)
        try:
            yield ledger
        finally:
            ledger.close()
    except (DatabaseUnusable, CorrectionsError) as error:
        raise _refused(str(error)) from None
    except psycopg.Error as error:
        raise _refused(f"the database cannot be asked: {text_of(error)}") from None


def _refused(problem: str, *asides: Path) -> typer.Exit:
    where = "".join(f"; what was in the directory is in {aside}" for aside in asides)
    typer.echo(f"avocet-grpc: {problem}{where}", err=True)
    return typer.Exit(ExitCode.FAILED)
