"""Comparing the ledger with the two shared files, beside a running service or after it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.core.model import File
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.maintenance.comparison import Comparison, State, copied_index
from avocet_grpc.maintenance.files_id import WrongDirectory
from avocet_grpc.maintenance.replacement import is_unfinished, way_to_finish
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk, FileChanged
from avocet_grpc.store.sql.dialect import Session
from avocet_grpc.store.sql.feed import SqlMirrorReader
from avocet_grpc.store.sql.queries import Queries
from avocet_grpc.store.sqlite import inspect
from avocet_grpc.store.sqlite.integrity import LOST, NOT_AS_LEFT, LedgerUnusable, has_remains
from avocet_grpc.store.sqlite.seal import has_sound_seal

TRIES = 5
PAUSE_S = 1.0

Progress = Callable[[str, int, int], None]
"""Told now and then: the file's name, bytes read, bytes in all."""


Opened = Callable[[], AbstractContextManager[Session]]
"""Gives one consistent view of a ledger."""


@dataclass(slots=True)
class Report:
    """What was found, as lines for a terminal; `damage` are those on which an operator must act."""

    state: str = ""
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


def verify(data_dir: Path, progress: Progress) -> Report:
    """Look at the ledger and at both files. Changes nothing. Raises WrongDirectory, OSError, LedgerUnusable."""
    directory = DataDirectory(data_dir)
    if directory.files_id.exists():
        raise WrongDirectory(f"{data_dir} has the files of a store in PostgreSQL: give its --store too")
    ledger = directory.ledger
    if is_unfinished(directory):
        raise LedgerUnusable(way_to_finish(data_dir))
    state = state_of(directory)
    report = Report(state.value)
    way_out = f"the way out: avocet-grpc rebuild --data-dir {data_dir}"
    if not ledger.exists() and has_remains(ledger):
        report.damage += [f"ledger: {LOST.format(ledger.name)}", way_out]
        return report
    # A first start that was killed leaves an empty one.
    if not ledger.exists() or (ledger.stat().st_size == 0 and not has_remains(ledger)):
        report.notes.append("there is no ledger; the next start makes one from the files")
        return report
    if state is not State.RUNNING and has_sound_seal(ledger) is False:
        report.damage.append(f"ledger: {NOT_AS_LEFT}")
    problems = inspect.problems(ledger)
    report.damage += [f"ledger: {problem}" for problem in problems]
    if report.damage:
        report.damage.append(way_out)
    if problems:
        return report
    compare_files(report, directory, state, progress, lambda: inspect.opened(ledger))
    return report


def compare_files(report: Report, directory: DataDirectory, state: State, progress: Progress, opened: Opened) -> None:
    """Add to the report how both files differ from the ledger, of which `opened` gives a view. Raises as `verify`."""
    for file, name in SHARED_FILES.items():
        for line, is_damage in _compared(directory, file, state, progress, opened):
            (report.damage if is_damage else report.notes).append(f"{name}: {line}")


def is_served(data_dir: Path) -> bool:
    """Return whether a service holds the data directory. Raises OSError."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def state_of(directory: DataDirectory) -> State:
    """Return how the service of the directory is, or how it ended. Raises OSError."""
    if is_served(directory.root):
        return State.RUNNING
    return State.CRASHED if directory.running.exists() else State.STOPPED


def _compared(
    directory: DataDirectory, file: File, state: State, progress: Progress, opened: Opened
) -> Iterator[tuple[str, bool]]:
    """Yield what differs, and whether it is damage. Beside a running service it is looked at until two looks agree."""
    disk = Disk()
    path = disk.resolve_file(directory.shared_file(file))
    lines: list[tuple[str, bool]] = []
    for _ in range(TRIES if state is State.RUNNING else 1):
        before = lines
        try:
            with opened() as session, copied_index(directory.index) as index:
                reader, newest_change = SqlMirrorReader(session), Queries(session).newest_change
                comparison = Comparison(reader, newest_change, index, file, path, state, progress, disk, Clock())
                lines = list(comparison.run())
        except FileChanged:
            lines = [("it is being written; look again when it is quiet", False)]
        except sqlite3.DatabaseError as error:
            raise LedgerUnusable(f"the ledger cannot be read: {error}") from error
        if not lines or lines == before:
            break
        time.sleep(PAUSE_S if state is State.RUNNING else 0)
    yield from lines
