"""The command `avocet-grpc backup`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from avocet_grpc.backup import CannotBackUp, back_up
from avocet_grpc.core.errors import StorageFailed


def backup(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to; must not exist yet.")],
    data_dir: Annotated[
        Path, typer.Option(envvar="AVOCET_DATA_DIR", metavar="DIR", help="The data directory of the server.")
    ] = Path("data"),
) -> None:
    """Copy the data directory, also while its server runs.

    The copy holds whatever was acknowledged before it began. To restore it, stop the server, move its data directory
    away, copy the backup to its place, and start the server.

        avocet-grpc backup --data-dir ./data --to ./backups/monday

    Exit codes: 0 when the backup is whole and on the disk; 1 if it could not be made.
    """
    tasks: dict[str, TaskID] = {}
    try:
        with Progress(console=Console(stderr=True)) as shown:

            def progress(what: str, share: float) -> None:
                if what not in tasks:
                    tasks[what] = shown.add_task(what, total=1.0)
                shown.update(tasks[what], completed=share)

            size = back_up(data_dir, to, progress)
    except (CannotBackUp, StorageFailed, OSError) as error:
        print(f"avocet-grpc: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(f"backed up {data_dir} to {to} ({size:,} bytes)")
