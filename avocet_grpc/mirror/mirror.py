"""Both shared files: their life cycle, and what is reported of them."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import structlog

from avocet_grpc.core.errors import CorrectionsError, StorageFailed
from avocet_grpc.core.model import File
from avocet_grpc.core.observer import SILENT, Observer
from avocet_grpc.core.ports.mirror import Fenced, FileReport, MirrorLedger
from avocet_grpc.layout import SHARED_FILES, DataDirectory
from avocet_grpc.mirror.fs.clock import Clock
from avocet_grpc.mirror.fs.disk import Disk
from avocet_grpc.mirror.index import Index
from avocet_grpc.mirror.index_database import IndexDamaged, is_damage
from avocet_grpc.mirror.session import Session
from avocet_grpc.mirror.set_aside import SetAside
from avocet_grpc.mirror.shared_file import SharedFile

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 1.0
FINISH_PAUSE_S = 0.02
AFTER_A_FAILURE_S = 0.25

Progress = Callable[[str, int, int], None]
"""Told how far an adoption is: the file's name, bytes read so far, bytes in all. It MUST return at once."""


class Mirror:
    """Keeps the two files of one data directory level with the ledger. It has one thread: that of its caller.

    The caller waits between rounds: 0.25 s after a level one, 0.05 s after another, and it begins one soon after a
    commit. `failures` counts rounds that failed; they are tried again.
    """

    def __init__(
        self, ledger: MirrorLedger, data_dir: Path, disk: Disk, clock: Clock, observer: Observer = SILENT
    ) -> None:
        """Open nothing yet. `data_dir` must exist, and the caller must hold its lock."""
        # A directory that others put in the place of this one is another service's.
        self._directory = DataDirectory(disk.resolve(data_dir))
        self._ledger, self._disk, self._clock, self._observer = ledger, disk, clock, observer
        self._files: dict[File, SharedFile] = {}
        self._index: Index | None = None
        self._epoch = 0
        self._reports: dict[File, FileReport] = {}
        self._reported_at = 0.0
        self._said: dict[File, str] = {}
        self.failures = 0

    @property
    def lag_seconds(self) -> float:
        """For how long the files have lacked something; 0.0 if they lack nothing."""
        return max((file.lag_seconds() for file in self._files.values()), default=0.0)

    @property
    def written(self) -> int:
        """How many lines the last round wrote or blanked."""
        return sum(file.written for file in self._files.values())

    @property
    def is_urgent(self) -> bool:
        """True if the next round must not be put off: a lease on a file is waited for."""
        return any(file.is_urgent for file in self._files.values())

    @property
    def is_copying(self) -> bool:
        """True if the last round copied a part of a file: the next one should follow at once."""
        return any(file.is_copying for file in self._files.values())

    def adopt(self, progress: Progress | None = None) -> None:
        """Fence earlier mirrors, compare both files with the ledger, report, and mark the directory as in use.

        Call it once, before the service listens. Nothing is written to the files before both are compared. Raises
        OSError (NotARegularFile for a pipe, device or directory under a file's name; also if both names are one file),
        Fenced, or an error of the port.
        """
        self._refuse_one_file_for_both()
        marker = self._directory.running
        clean = not self._disk.exists(marker)
        self._disk.make_directory(marker.parent)
        self._epoch = self._ledger.take_over()
        self._index = Index.open(self._directory.index, check=not clean)
        for file, name in SHARED_FILES.items():
            session = self._session(file)
            self._files[file] = SharedFile(session, self._directory.shared_file(file))
            self._files[file].adopt(clean=clean, progress=self._progress_of(name, file, progress))
        self._mark_running()
        for shared in self._files.values():
            shared.make_sure_it_exists()
        self._report(clean=False, force=True)
        if not clean:
            # Readers see what a kill left in the middle of a change, beside what took its place.
            self.round()

    def round(self) -> bool:
        """Look at both files once and write them once. True if nothing is left to do.

        An error of the disk or a refusal by the ledger is logged and counted; the next round tries again. Raises
        Fenced, after which this mirror must not be used; StorageFailed, after which the service ends; and IndexDamaged,
        after which a new mirror makes the index again.
        """
        level = all([self._try(file, SharedFile.round) for file in self._files])
        self._report(clean=False, force=False)
        self._observer.files_level(level and not self._said)
        return level

    def stop(self, timeout: float) -> bool:
        """Bring both files level with the ledger as it is now, compact and sync them, within `timeout` seconds.

        Call it when nobody writes to the ledger any more. True if it worked: the next start is a clean one. Closes the
        index in any case. Raises what `round` raises.
        """
        try:
            done = self._finish(self._clock.monotonic() + timeout)
            self._report(clean=done, force=True)
            if done:
                self._disk.unlink(self._directory.running)
                self._disk.sync_directory(self._directory.private)
            return done
        finally:
            self.close()

    def close(self) -> None:
        """Close what is open, and leave the files as they are: the next start is as after a crash."""
        for shared in self._files.values():
            shared.close()
        if self._index is not None:
            self._index.close()
            self._index = None

    def _session(self, file: File) -> Session:
        assert self._index is not None
        parts = self._ledger, self._epoch, self._index, self._disk, self._clock, self._observer
        return Session(file, *parts, SetAside(file))

    def _progress_of(self, name: str, file: File, progress: Progress | None) -> Callable[[int], None]:
        if progress is None:
            return lambda _: None
        found = self._disk.stat(self._directory.shared_file(file))
        total = found.size if found else 0
        return lambda read: progress(name, read, total)

    def _mark_running(self) -> None:
        marker = self._directory.running
        if not self._disk.exists(marker):
            self._disk.close(self._disk.create(marker))
        self._disk.sync_directory(marker.parent)

    def _finish(self, deadline: float) -> bool:
        """Finish both files in turn, since each waits for its displaced ones."""
        with self._ledger.view() as view:
            revision = view.head().revision
        left = set(self._files)
        while left and self._clock.monotonic() < deadline:
            before = self.failures
            left -= {file for file in left if self._try(file, lambda one: one.finish(revision), failed=False)}
            self._clock.sleep(AFTER_A_FAILURE_S if self.failures > before else FINISH_PAUSE_S if left else 0)
        return not left

    def _try(self, file: File, step: Callable[[SharedFile], bool], *, failed: bool = True) -> bool:
        """Run one step of one file; return `failed` if it fails, since the next regular look tries again."""
        try:
            level = step(self._files[file])
        except (Fenced, StorageFailed):
            raise
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                raise IndexDamaged(str(error)) from error
            self._note_failure(file, error)
            return failed
        except Exception as error:
            self._note_failure(file, error)
            return failed
        self._said.pop(file, None)
        return level

    def _refuse_one_file_for_both(self) -> None:
        seen = dict[tuple[int, int], Path]()
        for path in map(self._directory.shared_file, SHARED_FILES):
            if (found := self._disk.stat(path)) is not None:
                other = seen.setdefault((found.device, found.inode), path)
                if other != path:
                    text = f"it is a link to the same file as {other.name}; give each a file of its own"
                    raise OSError(errno.EINVAL, text, str(path))

    def _note_failure(self, file: File, error: Exception) -> None:
        """Say it once until it changes or works again; a full disk would fill the log."""
        self.failures += 1
        text = f"{type(error).__name__}: {error}"
        if self._said.get(file) != text:
            self._said[file] = text
            expected = isinstance(error, OSError | CorrectionsError | sqlite3.Error)
            name = SHARED_FILES[file]
            log.error("shared file not brought up to date", file=name, error=text, exc_info=not expected)

    def _report(self, *, clean: bool, force: bool) -> None:
        """Tell the ledger what changed: it feeds its statistics, and holds pruning back. At most once a second."""
        now = self._clock.monotonic()
        if not force and now - self._reported_at < REPORT_EVERY_S:
            return
        for file, shared in self._files.items():
            report = shared.report(clean=clean)
            if not force and self._reports.get(file) == report:
                continue
            try:
                self._ledger.set_report(self._epoch, file, report)
            except StorageFailed:
                raise
            except CorrectionsError as error:
                self._note_failure(file, error)
                continue
            self._reports[file] = report
            self._reported_at = now
