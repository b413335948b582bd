"""The mirror of a ledger that several servers share: it keeps the files while its server has the lease of them."""

from __future__ import annotations

import contextlib
import fcntl
from contextlib import ExitStack

import structlog

from avocet_grpc.core.errors import Overloaded, StorageUnreachable
from avocet_grpc.core.ports.keeper import KeeperState
from avocet_grpc.core.ports.mirror import Fenced
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.layout import DataDirectory
from avocet_grpc.maintenance.files_id import WrongDirectory
from avocet_grpc.maintenance.keeping import Keeping
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.mirror import Mirror
from avocet_grpc.processes.config_mirror import ConfigMirror
from avocet_grpc.processes.messages import Released, Running
from avocet_grpc.processes.mirror_process import FULL_PAUSE_S, Follower
from avocet_grpc.store.postgres.connect import shown
from avocet_grpc.store.postgres.engine import PostgresLedger

TRY_EVERY_S = 1.0
"""How often a server that does not keep the files looks whether anybody does."""

log = structlog.get_logger("avocet_grpc")


class Keeper(Follower):
    """Keeps the files whenever it can have the lease and the lock of the directory; calls go on without it."""

    def _begin(self, stack: ExitStack) -> None:
        begin, ledger = self._parent.begin, self._ledger
        assert isinstance(ledger, PostgresLedger)
        store = self._settings.store
        self._keeping = Keeping(ledger, store, shown(store), begin.service, self._settings.data_dir)
        stack.callback(self._keeping.close)
        self._config = ConfigMirror(ledger.config(), self._settings.config_dir)
        self._is_running, self._is_released = False, begin.released
        self._said = ""

    def _new_mirror(self) -> Mirror:
        return Mirror(self._keeping.ledger(), self._settings.data_dir, self._keeping.disk(), Clock(), self._observer)

    def run(self) -> int:
        """Keep the files whenever it can be done, until the end. Raises WrongDirectory at the start."""
        level: bool | None = None
        while not self._ending.is_set():
            if not self._is_released and self._holds():
                level = self._kept()
            self._say_running()
            self._ending.wait(TRY_EVERY_S)
        if level is None:
            level = self._is_released or self._others_keep()
        if not level:
            self._say_behind()
        return ExitCode.OK if level else ExitCode.FILES_BEHIND

    def _holds(self) -> bool:
        """Take the lock of the directory and the lease, if nobody has them."""
        try:
            if self._is_running and (state := self._keeping.state()).is_kept and not self._is_ours(state):
                self._say("another server keeps the shared files", keeper=state.place)
                return False
            if not self._has_lock():
                self._say("another server has the data directory")
                return False
            if not self._keeping.take():
                self._say("another server keeps the shared files", keeper=self._keeping.state().place)
                return False
        except (StorageUnreachable, Overloaded) as error:
            self._say("the shared files are not kept", error=str(error))
            return False
        except WrongDirectory as error:
            # The service serves already. It would start a mirror that ends again and again.
            if not (self._is_running or self._parent.begin.again):
                raise
            if self._say("this server cannot keep the shared files any more", error=str(error)):
                self._keeping.note_refused()
            return False
        return True

    def _others_keep(self) -> bool:
        """Return whether a server elsewhere keeps the files. One that kept them here is dead: we have its lock."""
        try:
            state = self._keeping.state()
        except (StorageUnreachable, Overloaded):
            return False
        return state.is_kept and state.place != self._keeping.place

    def _kept(self) -> bool | None:
        """Keep the files until the end, or until another server may.

        Returns whether they need nothing more; None if the lease was lost.
        """
        try:
            while True:
                self._mirror = self._new_mirror()
                if self._adopted():
                    break
                self._say_running()
                if self._ending.wait(FULL_PAUSE_S):
                    return False
            self._say("this server keeps the shared files", directory=str(self._settings.data_dir))
            self._say_running()
            self._follow()
            self._keeping.check()
            level = self._stopped()
        except (Fenced, StorageUnreachable) as error:
            self._mirror.close()
            self._mirror = self._new_mirror()
            self._say("this server does not keep the shared files for now", error=str(error))
            return False if self._keeping.is_held else None
        if self._keeping.release_wanted:
            if not level:
                self._say_behind()
            self._give_up()
        return level

    def _goes_on(self) -> bool:
        return super()._goes_on() and self._keeping.is_held and not self._keeping.release_wanted

    def _round(self) -> bool:
        level = super()._round()
        self._config.look()
        return level

    def _give_up(self) -> None:
        """An operator wants another server to keep the files: this one does not try again until it is restarted."""
        self._is_released = True
        self._parent.report(Released())
        self._keeping.release()
        with contextlib.suppress(OSError):
            DataDirectory(self._settings.data_dir).owner.unlink()
        fcntl.flock(self._parent.begin.lock, fcntl.LOCK_UN)
        self._say("this server has released the shared files")

    def _has_lock(self) -> bool:
        """Return whether this server has the data directory: it has had it since its start, unless it released it."""
        try:
            fcntl.flock(self._parent.begin.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_ours(self, state: KeeperState) -> bool:
        return state.holder == self._parent.begin.service

    def _say_running(self) -> None:
        if not self._is_running:
            self._is_running = True
            self._parent.report(Running())

    def _say(self, what: str, **more: str) -> bool:
        """Say it once, until something else is to be said. Returns whether it was said now."""
        if (text := f"{what} {more}") == self._said:
            return False
        self._said = text
        (log.error if "error" in more else log.info)(what, **more)
        return True
