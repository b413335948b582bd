"""Paths and stores on the command line."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from avocet_grpc.settings import SQLITE


def a_path(text: str | Path) -> Path:
    """Return the path, for the `parser` of an option. Raises typer.BadParameter if it is empty.

    `Path("")` is the current directory, and an empty value comes from a variable that a script did not set.
    """
    if not os.fspath(text):
        raise typer.BadParameter("the path is empty")
    return Path(text)


def directory(text: str | Path) -> Path:
    """Return the directory, which may be missing. Fails as a wrong flag if something else has its name."""
    path = a_path(text)
    if os.path.lexists(path) and not path.is_dir():
        raise typer.BadParameter(f"'{path}' is not a directory.")
    return path


def existing(text: str | Path) -> Path:
    """Return the directory. Fails as a wrong flag if there is none."""
    path = directory(text)
    if not path.exists():
        raise typer.BadParameter(f"Directory '{path}' does not exist; name another.")
    return path


def database_url(text: str) -> str:
    """Return the URL of a PostgreSQL database. Fails as a wrong flag if it is something else."""
    if not text.startswith(("postgres://", "postgresql://")):
        raise typer.BadParameter("must be postgres://USER@HOST[,HOST]/DATABASE")
    return text


def store_name(text: str) -> str:
    """Return `sqlite`, or the URL of a PostgreSQL database. Fails as a wrong flag if it is something else."""
    if text != SQLITE and not text.startswith(("postgres://", "postgresql://")):
        raise typer.BadParameter("must be 'sqlite' or postgres://USER@HOST[,HOST]/DATABASE")
    return text
