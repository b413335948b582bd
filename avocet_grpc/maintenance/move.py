"""Moves the ledger of a data directory into a PostgreSQL database. Needs the extra `avocet-grpc[postgres]`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg

from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.lock import DataDirectoryLock
from avocet_grpc.maintenance.replacement import is_unfinished, way_to_finish
from avocet_grpc.store.postgres.connect import connect, shown
from avocet_grpc.store.postgres.failure import text_of
from avocet_grpc.store.postgres.fill import Filled, Progress, fill
from avocet_grpc.store.postgres.migrate import refuse_other_schema
from avocet_grpc.store.postgres.settings import refuse_if_unsafe
from avocet_grpc.store.sqlite.inspect import opened
from avocet_grpc.store.sqlite.integrity import refuse_if_not_as_left


class CannotMove(Exception):
    """Nothing was moved; the text is one line for the operator, without a password."""


def move(data_dir: Path, url: str, progress: Progress) -> Filled:
    """Copy the ledger of a stopped service into an empty database, all or nothing; the directory stays as it is.

    Raises CannotMove, DatabaseUnusable, LedgerUnusable, DataDirectoryTaken or OSError.
    """
    directory = DataDirectory(data_dir)
    if is_unfinished(directory):
        raise CannotMove(way_to_finish(data_dir))
    if not directory.ledger.exists():
        name = directory.ledger.relative_to(data_dir)
        raise CannotMove(f"{data_dir} is not the data directory of a service: it has no {name}")
    if directory.files_id.exists():
        raise CannotMove(f"{data_dir} has the files of a store in PostgreSQL, and its ledger is an old one")
    lock = DataDirectoryLock(data_dir)
    try:
        if directory.running.exists():
            raise CannotMove("the service did not stop cleanly; start it, stop it, and copy then")
        refuse_if_not_as_left(directory.ledger)
        with opened(directory.ledger, lenient=False) as source, closing(connect(url)) as db:
            refuse_other_schema(db, shown(url))
            refuse_if_unsafe(db)
            return fill(db, source, progress)
    except psycopg.Error as error:
        what = f"cannot use the database {shown(url)}: {text_of(error)}"
        raise CannotMove(f"{what}; once it answers at that address, run the same again") from error
    except sqlite3.Error as error:
        raise CannotMove(f"the ledger {directory.ledger} cannot be read: {error}") from error
    finally:
        lock.release()
