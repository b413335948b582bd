"""What every command asks of a data directory before it reads or writes there."""

from __future__ import annotations

from pathlib import Path

import typer

from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.wording import why


def checked(data_dir: Path) -> Path:
    """Return the directory. Raises typer.Exit if others could lead the command to other files; the reason is said."""
    from avocet_grpc.maintenance.private_directory import UnsafeDirectory, refuse_if_planted

    try:
        refuse_if_planted(data_dir, for_its_owner=True)
    except (UnsafeDirectory, OSError) as error:
        typer.echo(f"avocet-grpc: {why(error)}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    return data_dir
