"""Keeping the files of a ledger in a database: the lease, what it allows, and the ledger under it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import psycopg
import structlog

from avocet_grpc.core.errors import StorageUnreachable
from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.core.ports.mirror import (
    Edit,
    Expected,
    Fenced,
    FileReport,
    Found,
    How,
    MirrorLedger,
    MirrorReader,
    Outcome,
)
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance import files_id
from avocet_grpc.maintenance.files_id import WrongDirectory
from avocet_grpc.mirror.fs.fenced import FencedDisk
from avocet_grpc.store.postgres.engine import PostgresLedger
from avocet_grpc.store.postgres.failure import text_of
from avocet_grpc.store.postgres.keeper import RENEW_EVERY_S, TTL_S, Lease, Renewal, WrongFiles
from avocet_grpc.telemetry.guard import failed

MARGIN_S = 2.0
"""So long before the lease ends the holder writes nothing any more: a write may take its time."""
EARLY_S = 5.0
"""With less of the lease left than this, a view of the ledger renews it first."""
RETRY_S = 0.2

log = structlog.get_logger("avocet_grpc")


class Keeping:
    """What one server does to keep the files in `data_dir`; it holds the lock of the directory.

    `holder` names this run of the server. `address` is the store's, without a password.
    """

    def __init__(self, ledger: PostgresLedger, url: str, address: str, holder: str, data_dir: Path) -> None:
        self._ledger, self._address = ledger, address
        self._directory = DataDirectory(data_dir)
        host, directory = socket.gethostname(), str(data_dir.resolve())
        self.place = f"{host}:{directory}"
        self._lease = Lease(url, holder, host, directory)
        self._renewing = threading.Lock()
        self._epoch = 0
        self._good_until = 0.0
        self._is_lost = True
        self.release_wanted = False
        self._ended = threading.Event()
        threading.Thread(target=self._renew_always, name="lease", daemon=True).start()

    @property
    def is_held(self) -> bool:
        """Return whether nobody else is known to have the lease; it may have run out."""
        return not self._is_lost

    def state(self) -> KeeperState:
        """Return who holds the lease. Raises StorageUnreachable."""
        with _reaching():
            return self._lease.state()

    def take(self) -> bool:
        """Take the lease. False while another server holds it.

        Raises WrongDirectory, StorageUnreachable or OSError.
        """
        found = files_id.read(self._directory)
        if found is None:
            self._refuse_another_ledgers_directory()
            found = files_id.prepare(self._directory)
        return self._take(found, binds=not found.is_settled)

    def take_over(self) -> bool:
        """Take the lease for a directory without an id, whose files are those of the ledger from now on.

        False while another server holds it. Raises StorageUnreachable or OSError.
        """
        return self._take(files_id.prepare(self._directory), takes_over=True)

    def check(self) -> None:
        """Raise Fenced if the lease does not last for the next write."""
        if self._is_lost or _now() >= self._good_until:
            raise Fenced("the lease of the files has run out")

    def disk(self) -> FencedDisk:
        """Return a disk that writes as long as the lease lasts."""
        return FencedDisk(self.check)

    def ledger(self) -> MirrorLedger:
        """Return the ledger for a mirror that is to end with the lease."""
        return _KeptLedger(self._ledger.mirror(), self._epoch, self.make_sure)

    def make_sure(self) -> None:
        """Renew the lease if it does not last much longer. Raises Fenced or StorageUnreachable."""
        if _now() >= self._good_until - EARLY_S:
            with _reaching():
                self._renew()
        self.check()

    def release(self) -> None:
        """Give the lease up, so that another server need not wait for its end."""
        if not self._is_lost:
            self._is_lost = True
            with contextlib.suppress(psycopg.Error):
                self._lease.release(self._epoch)

    def note_refused(self) -> None:
        """Let `keeper status` say that this server's directory does not have the ledger's files."""
        with contextlib.suppress(psycopg.Error):
            self._lease.note_refused()

    def close(self) -> None:
        """Renew it no more, and give it up."""
        self._ended.set()
        self.release()
        self._lease.close()

    def _take(self, found: files_id.FilesId, *, binds: bool = False, takes_over: bool = False) -> bool:
        asked = _now()
        try:
            with _reaching():
                epoch = self._lease.take(found.value, binds=binds, takes_over=takes_over)
        except WrongFiles as error:
            raise self._wrong(found, error) from None
        if epoch is None:
            return False
        with self._renewing:
            self._epoch, self._good_until, self._is_lost = epoch, asked + TTL_S - MARGIN_S, False
            self.release_wanted = False
        files_id.settle(self._directory, found)
        return True

    def _renew(self) -> None:
        with self._renewing:
            if self._is_lost:
                return
            asked = _now()
            match self._lease.renew(self._epoch):
                case Renewal.LOST:
                    self._is_lost = True
                    return
                case Renewal.RELEASE_WANTED:
                    self.release_wanted = True
            self._good_until = asked + TTL_S - MARGIN_S

    def _renew_always(self) -> None:
        pause = RENEW_EVERY_S
        while not self._ended.wait(pause):
            try:
                self._renew()
                pause = RENEW_EVERY_S
            except psycopg.Error as error:
                pause = RETRY_S
                log.debug("the lease of the files cannot be renewed", error=text_of(error))
            except Exception as error:
                pause = RETRY_S
                failed("lease", error)

    def _refuse_another_ledgers_directory(self) -> None:
        found = files_id.own_ledger(self._directory)
        if found is None:
            return
        with self._ledger.mirror().view() as view:
            incarnation = view.head().incarnation
        # A copy of a ledger keeps its incarnation.
        if found != incarnation:
            raise WrongDirectory(
                f"{self._directory.root} has the files of another ledger. To bring that ledger into the store first,"
                f" run: avocet-grpc store copy --from {self._directory.root} --to {self._address}."
                f" {self._way_out()}"
            )

    def _wrong(self, found: files_id.FilesId, error: WrongFiles) -> WrongDirectory:
        root = self._directory.root
        if not error.expected:
            what = f"{root} has the files of another store, and {self._address} has no files yet."
        elif found.is_settled:
            what = f"{root} has the files of another store than {self._address}."
        else:
            what = f"{root} is not the directory whose files {self._address} keeps."
        return WrongDirectory(f"{what} Start with the right --data-dir, or without one. {self._way_out()}")

    def _way_out(self) -> str:
        return (
            "To write the files here from the store, setting aside what is here, run:"
            f" avocet-grpc keeper take-over --store {self._address} --data-dir {self._directory.root}"
        )


class _KeptLedger:
    """Implements `core.ports.mirror.MirrorLedger` for one mirror: under one epoch, and for one incarnation."""

    def __init__(self, ledger: MirrorLedger, epoch: int, make_sure: Callable[[], None]) -> None:
        self._ledger, self._epoch, self._make_sure = ledger, epoch, make_sure
        self._incarnation: str | None = None

    @contextlib.contextmanager
    def view(self) -> Iterator[MirrorReader]:
        """One consistent view. Raises Fenced if the lease is lost, or the database is another one by now."""
        with self._ledger.view() as view:
            # The view may have waited for the database for longer than the lease lasts.
            self._make_sure()
            incarnation = view.head().incarnation
            if self._incarnation not in (None, incarnation):
                raise Fenced("the database was restored or failed over: the files are compared again")
            self._incarnation = incarnation
            yield view

    def take_over(self) -> int:
        """Taking the lease has fenced every earlier mirror."""
        return self._epoch

    def adopt(self, epoch: int, file: File, lines: Iterable[ParsedLine]) -> Iterable[Outcome]:
        return self._ledger.adopt(epoch, file, lines)

    def take_in(self, epoch: int, file: File, lines: Sequence[Found], how: How, *, trusted: bool) -> list[Outcome]:
        return self._ledger.take_in(epoch, file, lines, how, trusted=trusted)

    def accept_edits(self, epoch: int, file: File, edits: Sequence[Edit], *, trusted: bool) -> list[Outcome]:
        return self._ledger.accept_edits(epoch, file, edits, trusted=trusted)

    def accept_deletions(self, epoch: int, file: File, gone: Sequence[tuple[str, Expected]]) -> list[Outcome]:
        return self._ledger.accept_deletions(epoch, file, gone)

    def respell(self, epoch: int, file: File, lines: Collection[tuple[str, Expected, ParsedLine]]) -> list[Outcome]:
        return self._ledger.respell(epoch, file, [*lines])

    def set_report(self, epoch: int, file: File, report: FileReport) -> None:
        self._ledger.set_report(epoch, file, report)


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise StorageUnreachable(f"the database cannot be reached: {text_of(error)}") from error


def _now() -> float:
    """Seconds that go on while the machine sleeps, as those of the database do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
