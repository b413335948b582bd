"""What every command asks of a data directory before it reads or writes there."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from avocet_grpc.exit_codes import ExitCode


def named(text: str | Path) -> Path:
    """Return the path. `--data-dir "$UNSET"` would else be the present directory."""
    if not os.fspath(text):
        raise typer.BadParameter("is empty; '.' is the present directory")
    return Path(text)


def directory(text: str | Path) -> Path:
    """Return the directory, which may be missing. Fails as a wrong flag if something else has its name."""
    path = named(text)
    if os.path.lexists(path) and not path.is_dir():
        raise typer.BadParameter(f"'{path}' is no directory.")
    return path


def existing(text: str | Path) -> Path:
    """Return the directory. Fails as a wrong flag if there is none."""
    path = directory(text)
    if not path.exists():
        raise typer.BadParameter(f"Directory '{path}' does not exist; name another.")
    return path


def checked(data_dir: Path) -> Path:
    """Return the directory. Raises typer.Exit if others could lead the command to other files; the reason is said."""
    from avocet_grpc.maintenance.private_directory import UnsafeDirectory, refuse_if_planted

    try:
        refuse_if_planted(data_dir, for_its_owner=True)
    except (UnsafeDirectory, OSError) as error:
        typer.echo(f"avocet-grpc: {error}", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    return data_dir
