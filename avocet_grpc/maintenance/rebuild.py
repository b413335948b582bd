"""Making the ledger again from the two shared files, if it is damaged or cannot be trusted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from avocet_grpc.core.model import CandidateFilter, File, ParsedLine
from avocet_grpc.core.ports.mirror import Cursor, FileReport
from avocet_grpc.edge.convert.example import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.private_directory import give_to_owner
from avocet_grpc.maintenance.replacement import database, growing, replace
from avocet_grpc.mirror.feed import LAST_KEY
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.fs.scan import LineScanner
from avocet_grpc.store.sql.carry_over import carry_over
from avocet_grpc.store.sqlite import inspect, version_3
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.floor import RevisionFloor
from avocet_grpc.store.sqlite.inspect import Contents
from avocet_grpc.store.sqlite.version_3 import OldContents
from avocet_grpc.wording import counted


class Rebuild:
    """One rebuild of the ledger below `data_dir`: `losses` tells what it costs, `run` does it."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = DataDirectory(data_dir)
        ledger = self._directory.ledger
        self._old: Contents = version_3.contents(ledger) or inspect.contents(ledger)

    def has_ledger(self) -> bool:
        """Return whether there is anything to make again."""
        return any(path.exists() for path in database(self._directory.ledger))

    def losses(self) -> Iterator[str]:
        """Yield what cannot come back, line by line."""
        old = self._old
        yield f"{_counted(old.history, 'change')} in the history: an undo then puts a record back in review by default"
        yield f"{_counted(old.request_ids, 'request id')}: a write that is tried again under one of them is made twice"
        yield f"{_counted(old.old_examples, 'example')} of older revisions: resume tokens and revisions so far expire"
        yield f"{_counted(old.snapshots, 'snapshot')}: what was named cannot be exported again"
        if old.unreadable is None:
            yield "an unknown number of acknowledged changes that had not reached the files"
        elif old.unreadable:
            changes = counted(old.unreadable, "acknowledged change")
            yield f"{changes} that had not reached the files and cannot be read"

    def carried_over(self) -> int:
        """Return how many acknowledged changes the files may lack and the new ledger takes from the old one."""
        return sum(map(len, self._old.pending.values()))

    def run(self) -> tuple[int, Path | None]:
        """Make the new ledger and set the old one aside. Gives the records of the new one, and where the old one is.

        That is None if only the files beside a ledger were there.

        The mirror's index goes: the next start makes it again. Wherever it is cut off, the old ledger is in place, or
        the next start or rebuild puts the new one there. Raises OSError, or what the ledger raises.
        """
        with growing(self._directory) as building:
            with self._new_ledger(building) as ledger:
                records = self._fill(ledger)
            # The service runs as the user whose private directory it is.
            give_to_owner(building, self._directory.private)
            return records, replace(self._directory, building)

    def _fill(self, ledger: SqliteLedger) -> int:
        """Take in what the files have, then what they lack. Gives the number of candidates."""
        mirror, disk = ledger.mirror(), Disk()
        epoch = mirror.take_over()
        for file in File:
            with disk.reading(disk.resolve_file(self._directory.shared_file(file))) as descriptor:
                for _ in mirror.adopt(epoch, file, _records(disk, descriptor)):
                    pass
        # What the files had is level with them: another rebuild before the next start believes what they have then.
        with mirror.view() as view:
            level = Cursor(view.head().revision, LAST_KEY)
        for file in File:
            mirror.set_report(epoch, file, FileReport(level, malformed=0, duplicate_ids=0))
        for file, changes in self._old.pending.items():
            ledger.write(partial(carry_over, file=file, changes=changes)).result()
        if isinstance(self._old, OldContents):
            for file, lines in self._old.other_lines.items():
                _append(self._directory.shared_file(file), lines)
        return ledger.read(lambda reader: reader.stats(CandidateFilter())).total

    @contextmanager
    def _new_ledger(self, building: Path) -> Iterator[SqliteLedger]:
        """A ledger whose revisions are above all that the old one has given."""
        floor = max(RevisionFloor(self._directory.root).read(), (self._old.revision or 0) + 1)
        ledger = SqliteLedger(DataDirectory(building), encode=encode_example, first_revision=floor)
        try:
            yield ledger
        finally:
            ledger.close()


def _records(disk: Disk, descriptor: int) -> Iterator[ParsedLine]:
    """Yield the records of an open file, in order; malformed lines are the mirror's alone."""
    if descriptor < 0:
        return
    scanner = LineScanner(disk, descriptor, 0, disk.fstat(descriptor).size)
    for line in scanner:
        if (parsed := line.parsed()).columns is not None:
            yield parsed
    if scanner.rest is not None and (parsed := scanner.rest.parsed()).columns is not None:
        yield parsed


def _append(path: Path, lines: list[bytes]) -> None:
    """Lines of others that the old ledger had saved and that the file lacks.

    They stand there already if a rebuild was cut off after this.
    """
    if not lines:
        return
    added = b"".join(line + b"\n" for line in lines)
    with open(Disk().open_to_append(path), "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - len(added)))
        if (last := file.read()) == added:
            return
        torn = end > 0 and not last.endswith(b"\n")
        file.seek(0, os.SEEK_END)
        file.write(b"\n" * torn + added)
        file.flush()
        os.fsync(file.fileno())


def _counted(number: int | None, one: str) -> str:
    return f"an unknown number of {one}s" if number is None else counted(number, one)
