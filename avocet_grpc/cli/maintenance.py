"""The commands `avocet-grpc verify`, `avocet-grpc rebuild` and `avocet-grpc backup`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avocet_grpc.cli import output
from avocet_grpc.cli.data_directory import checked
from avocet_grpc.cli.paths import a_path, existing, store_name
from avocet_grpc.cli.progress import shown_progress
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.settings import SQLITE
from avocet_grpc.wording import NEEDS_DRIVER, counted, why

if TYPE_CHECKING:
    from avocet_grpc.maintenance.lock import DataDirectoryLock
    from avocet_grpc.maintenance.verify import Report

DataDir = Annotated[
    Path,
    typer.Option(
        envvar="AVOCET_DATA_DIR",
        metavar="DIR",
        parser=existing,
        callback=checked,
        help="The directory of sft_candidates.jsonl and sft_approved.jsonl.",
    ),
]


def verify(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=existing,
            envvar="AVOCET_DATA_DIR",
            metavar="DIR",
            help="The directory of sft_candidates.jsonl and sft_approved.jsonl.",
            show_default="data, without --store",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            parser=store_name,
            envvar="AVOCET_STORE",
            metavar="URL",
            help="A PostgreSQL ledger, postgres://USER@HOST[,HOST]/DATABASE; --data-dir adds the files.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare the ledger with the two shared files, beside a running server or after it; change nothing.

    It reads all of the ledger: its structure, every line's bytes, the counters, the exported examples. Then it compares
    both files with the ledger, line by line. It prints what differs, and what the service will do about it: at once if
    it runs, else at its next start. Differences that the service settles by itself are not damage. Of new malformed
    lines, the first 1,000 of each file are named by number and reason, as in the log.

        avocet-grpc verify --data-dir ./data

    Over PostgreSQL it looks at the ledger in the database, and at the files in the directory of their keeper. Indexes
    are checked too if the database has the extension amcheck.

        avocet-grpc verify --store postgres://avocet@db1,db2/avocet --data-dir ./data

    Exit codes: 0 if nothing is damaged; 1 if that cannot be found out; 2 for a wrong flag, also for a directory that is
    not there; 6 if the ledger or a file is damaged.
    """
    if store is not None and store != SQLITE:
        report = _verified_store(store, None if data_dir is None else checked(data_dir))
    else:
        report = _verified(checked(existing(Path("data")) if data_dir is None else data_dir))
    lines = [f"the service is {report.state}"] if report.state else []
    lines += [f"not checked: {line}" for line in report.not_checked]
    lines += [f"differs: {line}" for line in report.notes]
    lines += [f"DAMAGE: {line}" for line in report.damage]
    if not report.notes and not report.damage:
        lines.append("the ledger is sound, and both files agree with it" if report.state else "the ledger is sound")
    output.say(*lines, done="the ledger or a file is damaged" if report.damage else "nothing is damaged")
    raise typer.Exit(ExitCode.DAMAGED if report.damage else ExitCode.OK)


def _verified(data_dir: Path) -> Report:
    from avocet_grpc.maintenance.files_id import WrongDirectory
    from avocet_grpc.maintenance.verify import verify as compare
    from avocet_grpc.store.sqlite.integrity import LedgerUnusable

    try:
        with shown_progress("ledger") as progress:
            return compare(data_dir, progress)
    except (WrongDirectory, LedgerUnusable, OSError) as error:
        raise _refused(error) from None


def _verified_store(store: str, data_dir: Path | None) -> Report:
    try:
        from avocet_grpc.maintenance.files_id import WrongDirectory
        from avocet_grpc.maintenance.verify_store import verify_store
        from avocet_grpc.store.postgres.connect import DatabaseUnusable
        from avocet_grpc.store.sqlite.integrity import LedgerUnusable
    except ImportError:
        print(f"avocet-grpc: {NEEDS_DRIVER}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED) from None
    try:
        with shown_progress("ledger") as progress:
            return verify_store(store, data_dir, progress)
    except (DatabaseUnusable, WrongDirectory, LedgerUnusable, OSError) as error:
        raise _refused(error) from None


def rebuild(
    data_dir: DataDir = Path("data"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; say what cannot come back, and do it.")] = False,
) -> None:
    """Rebuild the ledger from the two shared files; the service must be stopped.

    Use it if the ledger is damaged, or if a newer or older program made it. It first says what cannot come back because
    only the ledger has it: the history, request ids, exports at older revisions. Acknowledged changes that had not
    reached the files are carried over if they can still be read. The old ledger is kept beside the new one, under a
    name with the time. Revisions go on growing.

        avocet-grpc rebuild --data-dir ./data

    Exit codes: 0 when it is done; 1 if it failed or was declined; 2 for a wrong flag, also for a directory that is not
    there; 3 if a server has the data directory.
    """
    from avocet_grpc.maintenance.lock import DataDirectoryLock, DataDirectoryTaken
    from avocet_grpc.telemetry import logs

    logs.configure(take_stderr=False)
    try:
        held = DataDirectoryLock(data_dir)
    except DataDirectoryTaken as error:
        print(f"avocet-grpc: {error}; stop it first", file=sys.stderr)
        raise typer.Exit(ExitCode.DIRECTORY_TAKEN) from None
    except OSError as error:
        raise _refused(error) from None
    try:
        _rebuild(data_dir, held, yes)
    finally:
        held.release()


def backup(
    to: Annotated[Path, typer.Option("--to", parser=a_path, metavar="DIR", help="Where to; must not exist yet.")],
    data_dir: DataDir = Path("data"),
) -> None:
    """Copy the data directory, also while its server runs.

    The copy holds whatever was acknowledged before it began. A damaged ledger is refused: rebuild it, or restore an
    older backup. To restore one, stop the server, move its data directory
    away, copy the backup to its place, and start the server. label_tool.yaml is not in it: copy it like any file.

        avocet-grpc backup --data-dir ./data --to ./backups/monday

    Exit codes: 0 when the backup is whole and on the disk; 1 if it could not be made, or the ledger is damaged; 2 for a
    wrong flag, also for a directory that is not there.
    """
    from avocet_grpc.core.errors import StorageFailed
    from avocet_grpc.maintenance.backup import CannotBackUp, back_up
    from avocet_grpc.store.sqlite.integrity import LedgerUnusable

    try:
        with shown_progress("ledger") as progress:
            size = back_up(data_dir, to, progress)
    except (CannotBackUp, LedgerUnusable, StorageFailed, OSError) as error:
        raise _refused(error) from None
    output.say(f"backed up {data_dir} to {to} ({counted(size, 'byte')})")


def _rebuild(data_dir: Path, held: DataDirectoryLock, yes: bool) -> None:
    from avocet_grpc.core.errors import CorrectionsError
    from avocet_grpc.layout import DataDirectory
    from avocet_grpc.maintenance.files_id import WrongDirectory, refuse_if_shared
    from avocet_grpc.maintenance.rebuild import Rebuild
    from avocet_grpc.maintenance.replacement import finish
    from avocet_grpc.store.sqlite.integrity import LedgerUnusable

    directory = DataDirectory(data_dir)
    try:
        refuse_if_shared(directory)
        if finish(directory):
            print("A rebuild that was cut off is finished now; what follows is a new one.")
        work = Rebuild(data_dir)
        if not work.has_ledger():
            print("there is no ledger; the next start makes one from the files")
            return
        held.name("no address: it rebuilds the ledger")
    except (WrongDirectory, OSError) as error:
        raise _refused(error) from None
    print("This cannot come back:")
    for line in work.losses():
        print(f"  - {line}")
    if carried := work.carried_over():
        print(f"Carried over: {counted(carried, 'acknowledged change')} that the files lack.")
    if not yes and not (sys.stdin.isatty() and typer.confirm("Rebuild the ledger?")):
        print("nothing was changed; --yes does it", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED)
    try:
        records, aside = work.run()
    except (OSError, LedgerUnusable, CorrectionsError) as error:
        raise _refused(error) from None
    old = "" if aside is None else f" The old one is {aside}; delete it when nobody needs it."
    output.say(f"The new ledger has {counted(records, 'candidate')}.{old}")


def _refused(error: Exception) -> typer.Exit:
    print(f"avocet-grpc: {why(error)}", file=sys.stderr)
    return typer.Exit(ExitCode.FAILED)
