"""Which ledger the files of a data directory belong to, if the ledger is in a database.

At a clean start the files may delete what the ledger has. So a server never keeps the files of a directory that is not
the ledger's own: both have the same id, in `.avocet/files_id` and in the database.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from avocet_grpc.durable import replace_content, sync_directory
from avocet_grpc.layout import DataDirectory

NEW = ".new"


class WrongDirectory(Exception):
    """The directory's files are not those of the ledger; the text says what to do."""


@dataclass(frozen=True, slots=True)
class FilesId:
    """The id of a directory; `is_settled` is False until the database is known to have it too."""

    value: str
    is_settled: bool


def read(directory: DataDirectory) -> FilesId | None:
    """Return the directory's id; None if no ledger in a database has ever kept its files. Raises OSError."""
    for path, is_settled in ((directory.files_id, True), (_new(directory), False)):
        with contextlib.suppress(FileNotFoundError):
            if text := path.read_text(encoding="utf-8", errors="replace").strip():
                return FilesId(text, is_settled)
    return None


def prepare(directory: DataDirectory) -> FilesId:
    """Return an id for a directory that has none: it is kept durably before the database has it. Raises OSError."""
    directory.private.mkdir(mode=0o700, exist_ok=True)
    made = FilesId(secrets.token_hex(16), is_settled=False)
    replace_content(_new(directory), f"{made.value}\n".encode())
    return made


def settle(directory: DataDirectory, files_id: FilesId) -> None:
    """The database has the id now. Raises OSError."""
    if not files_id.is_settled:
        _new(directory).replace(directory.files_id)
        sync_directory(directory.private)


def refuse_if_shared(directory: DataDirectory) -> None:
    """Raise WrongDirectory if the files belong to a ledger in a database: a ledger in the directory is an old one."""
    if directory.files_id.exists():
        raise WrongDirectory(
            f"{directory.root} has the files of a store in PostgreSQL: start with its --store. To go back to a ledger"
            f" in the directory, stop its keeper, delete {directory.private}, and start again: then only what the two"
            " files have is taken in"
        )


def own_ledger(directory: DataDirectory) -> str | None:
    """Return the incarnation of the ledger that the directory has itself, or that its index followed.

    None if it has neither; empty if that cannot be read.
    """
    if directory.ledger.exists():
        return _first(directory.ledger, "SELECT incarnation FROM head") or ""
    if directory.index.exists():
        return _first(directory.index, "SELECT incarnation FROM files WHERE incarnation <> '' LIMIT 1")
    return None


def _first(path: Path, query: str) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(query).fetchone()
    except sqlite3.Error:
        return ""
    return str(row[0]) if row else None


def _new(directory: DataDirectory) -> Path:
    return directory.files_id.with_name(directory.files_id.name + NEW)
