"""The thread that keeps both shared files and the ledger level."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

import structlog

from avocet_grpc.core.errors import CorrectionsError
from avocet_grpc.core.ports.files import Store
from avocet_grpc.durable import sync_directory
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.shared_files.mirror import Mirror

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.25
NOT_LEVEL_S = 0.05
FINISH_PAUSE_S = 0.02
GATHER_S = 0.03
"""Commits that come within this time go out together."""
GATHER_BUSY_S = 0.2
BUSY_LINES = range(16, 2_000)
"""Where a round writes so many lines, the next one waits longer: each costs the callers some, whatever it brings."""


class Syncer:
    """Owns the two files below `data_dir`. `failures` counts rounds that failed; they are tried again."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store = store
        self._running = DataDirectory(data_dir).running
        # A directory that others put in the place of this one is another service's.
        directory = Path(os.path.realpath(data_dir))
        self._mirrors = [Mirror(store, file, directory / name) for file, name in SHARED_FILES.items()]
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._said: dict[int, str] = {}
        self.failures = 0
        store.on_commit(self._wake.set)

    def adopt(self) -> None:
        """Take both files in before serving.

        They are the truth, except after a stop that was none: then the disk may lack what was written last. Raises
        OSError or StorageFailed.
        """
        clean = not self._running.exists()
        self._running.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._store.loading():
            for mirror in self._mirrors:
                mirror.adopt(clean)
                mirror.make_sure_it_exists()
        _make_durably(self._running)
        for number, mirror in enumerate(self._mirrors):
            if mirror.intake.junk:
                # Readers see what a kill left in the middle of a change, beside what took its place.
                self._try(number, mirror)

    def start(self) -> None:
        """Begin to look at the files and to write them."""
        self._thread = threading.Thread(target=self._run, name="shared-files", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Bring both files up to date and compact them, within `timeout` seconds. True if it worked."""
        deadline = time.monotonic() + timeout
        self._end.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            if self._thread.is_alive():
                return False
        if not self._finish(deadline):
            return False
        with contextlib.suppress(OSError):
            self._running.unlink(missing_ok=True)
            sync_directory(self._running.parent)
        return True

    def _run(self) -> None:
        level = True
        while not self._end.is_set():
            self._wake.wait(LOOK_EVERY_S if level else NOT_LEVEL_S)
            refused = any(mirror.is_refused for mirror in self._mirrors)
            busy = not refused and sum(mirror.written for mirror in self._mirrors) in BUSY_LINES
            self._end.wait(GATHER_BUSY_S if busy else GATHER_S)
            self._wake.clear()
            level = all([self._try(number, mirror) for number, mirror in enumerate(self._mirrors)])
            self._store.observer.files_level(level and not self._said)

    def _try(self, number: int, mirror: Mirror) -> bool:
        """One round; False where it shall be tried again soon. What fails is left for the next regular look."""
        if self._end.is_set():
            return True
        try:
            level = mirror.round()
        except Exception as error:
            self._failed(number, error)
            return True
        self._said.pop(number, None)
        return level

    def _finish(self, deadline: float) -> bool:
        """Both files in turn, since each waits for its displaced one."""
        left = set(range(len(self._mirrors)))
        while left and time.monotonic() < deadline:
            left -= {number for number in left if self._is_finished(number)}
            time.sleep(FINISH_PAUSE_S if left else 0)
        return not left

    def _is_finished(self, number: int) -> bool:
        try:
            return self._mirrors[number].finish()
        except Exception as error:
            self._failed(number, error)
            time.sleep(LOOK_EVERY_S)
            return False

    def _failed(self, number: int, error: Exception) -> None:
        """Say it once until it changes or works again; a full disk would fill the log."""
        self.failures += 1
        text = f"{type(error).__name__}: {error}"
        if self._said.get(number) != text:
            self._said[number] = text
            expected = isinstance(error, OSError | CorrectionsError)
            log.error("shared file not brought up to date", error=text, exc_info=not expected)


def _make_durably(path: Path) -> None:
    path.touch(mode=0o600)
    sync_directory(path.parent)
