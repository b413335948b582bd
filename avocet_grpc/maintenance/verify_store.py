"""`verify` for a ledger in a PostgreSQL database. Needs the extra `avocet-grpc[postgres]`."""

from __future__ import annotations

from pathlib import Path

import psycopg

from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance import files_id
from avocet_grpc.maintenance.files_id import WrongDirectory
from avocet_grpc.maintenance.verify import Progress, Report, compare_files, state_of
from avocet_grpc.store.postgres.connect import DatabaseUnusable, shown
from avocet_grpc.store.postgres.failure import text_of
from avocet_grpc.store.postgres.integrity import IndexesNotChecked, opened, wrong_indexes
from avocet_grpc.store.postgres.keeper import state_of as keeper_of
from avocet_grpc.store.sql.soundness import contradictions


def verify_store(url: str, data_dir: Path | None, progress: Progress) -> Report:
    """Look at the ledger, and at both files if the keeper's directory is given. Changes nothing.

    Raises DatabaseUnusable, WrongDirectory, OSError, LedgerUnusable.
    """
    try:
        return _verified(url, data_dir, progress)
    except psycopg.Error as error:
        raise DatabaseUnusable(f"the database cannot be asked: {text_of(error)}") from None


def _verified(url: str, data_dir: Path | None, progress: Progress) -> Report:
    report = Report()
    with opened(url) as session:
        if data_dir is not None:
            _refuse_other_files(DataDirectory(data_dir), keeper_of(session).files_id, shown(url))
        report.damage += [f"ledger: {problem}" for problem in contradictions(session)]
    try:
        report.damage += [f"ledger: {problem}" for problem in wrong_indexes(url)]
    except IndexesNotChecked as why:
        report.not_checked.append(f"the database's indexes: {why}")
    if report.damage:
        report.damage.append("the way out: restore the database from its backup")
    elif data_dir is not None:
        directory = DataDirectory(data_dir)
        state = state_of(directory)
        report.state = state.value
        compare_files(report, directory, state, progress, lambda: opened(url))
    return report


def _refuse_other_files(directory: DataDirectory, known: str, store: str) -> None:
    if not known:
        raise WrongDirectory(f"nobody has kept the files of {store} yet; start a server with this --data-dir first")
    found = files_id.read(directory)
    if found is None or found.value != known:
        raise WrongDirectory(
            f"{directory.root} does not have the files of {store}; leave --data-dir out, or correct it"
        )
