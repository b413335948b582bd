"""Comparing the ledger with the two shared files, beside a running server or after it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avocet_grpc.core.model import File, ParsedLine, Sync
from avocet_grpc.core.ports.files import Durable, LedgerLine
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.shared_files.join import Join
from avocet_grpc.shared_files.reconcile import DAMAGE_LINES, DAMAGE_SHARE, Plan, Planner, Rules
from avocet_grpc.shared_files.scan import FileChanged, Found, LineScanner, opened, read_line
from avocet_grpc.shared_files.swap import left_over
from avocet_grpc.store import inspect
from avocet_grpc.store.reader import SqlReader
from avocet_grpc.store.seal import has_sound_seal
from avocet_grpc.store.soundness import LedgerUnusable

TRIES = 5
PAUSE_S = 1.0
ALL = 2**31
EXAMPLES = 5

Progress = Callable[[str, int, int], None]
"""Told now and then: the file's name, bytes read, bytes in all."""


@dataclass(slots=True)
class Report:
    """What was found, as lines for a terminal; `damage` are those that ask for somebody to act."""

    state: str = ""
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)


def verify(data_dir: Path, progress: Progress) -> Report:
    """Look at the ledger and at both files. Changes nothing. Raises OSError, LedgerUnusable."""
    ledger = DataDirectory(data_dir).ledger
    running, crashed = is_served(data_dir), DataDirectory(data_dir).running.exists()
    report = Report("running" if running else "not stopped cleanly" if crashed else "stopped")
    if not ledger.exists():
        report.notes.append("there is no ledger; the next start makes one from the files")
        return report
    if not running and has_sound_seal(ledger) is False:
        report.damage.append("ledger: it is not what the last clean stop left")
    problems = inspect.problems(ledger)
    report.damage += [f"ledger: {problem}" for problem in problems]
    if report.damage:
        report.damage.append(f"the way out: avocet-grpc rebuild --data-dir {data_dir}")
    if problems:
        return report
    for file, name in SHARED_FILES.items():
        path = Path(os.path.realpath(data_dir / name))
        for line, is_damage in _compared(ledger, file, path, running, crashed, progress):
            (report.damage if is_damage else report.notes).append(f"{name}: {line}")
    return report


def is_served(data_dir: Path) -> bool:
    """Whether a server holds the data directory. Raises OSError."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _compared(
    ledger: Path, file: File, path: Path, running: bool, crashed: bool, progress: Progress
) -> Iterator[tuple[str, bool]]:
    """Lines about one file, and whether each is damage. Beside a running server it looks again until both are level."""
    for _ in range(TRIES if running else 1):
        try:
            with inspect.opened(ledger) as connection:
                reader = SqlReader(connection)
                durable = reader.durable(file) if crashed else None
                plan, rules = _plan(reader, file, path, not running and not crashed, durable, progress)
                lines = list(_lines(reader, file, plan, rules, path))
        except FileChanged:
            lines = [("it is being written; look again when it is quiet", False)]
        except sqlite3.DatabaseError as error:
            raise LedgerUnusable(f"the ledger cannot be read: {error}") from error
        if not lines:
            break
        time.sleep(PAUSE_S if running else 0)
    yield from lines


def _plan(
    reader: SqlReader, file: File, path: Path, stopped: bool, durable: Durable | None, progress: Progress
) -> tuple[Plan, Rules]:
    with opened(path) as descriptor:
        size = os.fstat(descriptor).st_size if descriptor >= 0 else 0
        still = time.time() - os.fstat(descriptor).st_mtime if descriptor >= 0 else 0.0
        join, scanner = Join(reader.rows(file)), LineScanner(descriptor, 0, size)
        for number, (offset, raw) in enumerate(scanner):
            join.take(offset, raw)
            if number % 4096 == 0:
                progress(path.name, offset, size)
        progress(path.name, size, size)
        torn = bool(scanner.rest.strip())
        if torn:
            join.take(scanner.end, scanner.rest)

        def read(one: Found) -> ParsedLine:
            return read_line(descriptor, one)

        rules = Rules(stopped, durable, still_s=still, torn=torn)
        return Planner(reader, file, size, rules, join, read).run(), rules


def _lines(reader: SqlReader, file: File, plan: Plan, rules: Rules, path: Path) -> Iterator[tuple[str, bool]]:
    written = {key for key, *_ in plan.placed}
    waiting = [line for line in reader.pending(file, ALL) if line.key not in written]
    for sync, what in ((Sync.APPEND, "appended"), (Sync.CHANGE, "changed"), (Sync.REMOVE, "removed")):
        ids = [line.id for line in waiting if line.sync is sync]
        yield from _told(ids, f"acknowledged and not in the file yet: will be {what}")
    yield from _told([line.id for line in _by_key(reader, plan.unplaced)], "missing: will be put back", plan.damaged)
    yield from _told([edit.line.id for edit in plan.edited if edit.previous], "edited by others: will be accepted")
    yield from _told(
        [edit.line.id for edit in plan.overruled], "edited by others before ours came: ours will be put back"
    )
    yield from _told([f"at byte {one.offset}" for one in plan.adopted], "new, by others: will be taken in")
    yield from _told([f"at byte {one.offset}" for one in plan.junk], "older states of ours: will be blanked")
    deleted = [line.id for line, previous in plan.forgotten if previous is not None]
    mass = len(deleted) > max(DAMAGE_LINES, DAMAGE_SHARE * sum(1 for _ in reader.rows(file)))
    yield from _told(
        deleted, "deleted by others: will be accepted; if that was not meant, put the file back first", mass
    )
    yield from _told([""] * plan.doubtful, "missing: deleted, once the file has been still for 10 s")
    if not path.exists() and not reader.is_empty(file):
        yield "the file is missing", True
    if plan.damaged or (rules.torn and rules.stopped):
        yield "it is damaged: " + ("it ends inside a line" if rules.torn else "whole parts of it are missing"), True
    for displaced in left_over(path):
        yield f"{displaced.name} is left of a rewrite and may hold others' lines: will be read, then removed", False


def _by_key(reader: SqlReader, keys: list[int]) -> list[LedgerLine]:
    return [line for key in keys if (line := reader.line(key)) is not None]


def _told(which: Sequence[str | None], text: str, is_damage: bool = False) -> Iterator[tuple[str, bool]]:
    if which:
        # Other programs chose the ids: control characters in them must not reach a terminal.
        shown = ", ".join(one.encode("unicode_escape").decode() for one in which[:EXAMPLES] if one)
        more = ", ..." if len(which) > EXAMPLES and shown else ""
        yield f"{len(which)} {text}" + (f" ({shown}{more})" if shown else ""), is_damage
