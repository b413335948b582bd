"""A file of examples, one JSON row a line, that appears when it is complete and can be continued when it is not.

Beside `PATH` lie meanwhile `PATH.part`, the lines so far, and `PATH.part.state`, how many bytes of it count and where
the export stood then.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ModuleNotFoundError:  # Windows: two writers of one path are not told apart there
    fcntl = None  # type: ignore[assignment]

import avocet_client.strict_json as strict_json
from avocet_client.files import place_of
from avocet_client.render import Render, rows
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import counted

Progress = Callable[[int, int], None]
"""Called with how many examples are done, and how many there are."""

CHECKPOINT_SECONDS = 1.0


class JsonlDownload:
    """One download into a file; `export` is the iterator that it is fed from.

    Raises FileExistsError if something else than a file stands under the name.
    """

    def __init__(self, path: Path, export: Any, render: Render, on_progress: Progress | None) -> None:
        self._path = path = place_of(path)
        self._part = path.with_name(path.name + ".part")
        self._state = path.with_name(path.name + ".part.state")
        self._export = export
        self._render = render
        self._on_progress = on_progress or _terminal_progress()
        self._checked = time.monotonic()
        self._file: IO[bytes] | None = None
        self.resumed = False
        self.rows = 0
        """How many rows the file has."""

    def open(self, load: Callable[[Mapping[str, Any]], None]) -> None:
        """Begin the file, or continue it if `load` takes the state that lies beside it.

        Raises FileExistsError if another process is writing it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _claimed(self._part)
        size = 0
        if self._state.exists():
            try:
                saved = json.loads(self._state.read_bytes())
                if self._continues(saved):
                    before = saved["rows"]
                    load(saved["export"])
                    size, self.rows, self.resumed = saved["bytes"], before, True
            except (ValueError, KeyError, TypeError, RecursionError):
                pass  # of another export or another version: this one starts over
        self._file.truncate(size)
        self._file.seek(size)
        self._written: int = self._export.consumed

    def add(self, example: pb.TrainingExample) -> None:
        """Write the example's rows."""
        assert self._file is not None
        for row in rows(self._render, example):
            self._file.write(strict_json.dumps(row).encode() + b"\n")
            self.rows += 1
        self._written += 1
        if time.monotonic() - self._checked >= CHECKPOINT_SECONDS:
            self._checkpoint()
            self._report()

    def finish(self) -> int:
        """Put the complete file in its place. Return how many examples it is made of."""
        assert self._file is not None
        self._checkpoint()
        self._report()
        os.replace(self._part, self._path)
        self._state.unlink()
        self._file.close()
        _sync_directory(self._path.parent)
        consumed: int = self._export.consumed
        return consumed

    def close(self) -> None:
        """Leave off; what was written so far is kept for the next time."""
        if self._file is not None and not self._file.closed:
            try:
                # An example that was handed out, and not written, would be missing for ever.
                if self._written == self._export.consumed:
                    self._checkpoint()
            finally:
                self._file.close()

    def discard(self) -> None:
        """Forget what was written so far."""
        if self._file is not None:
            self._file.close()
        self._state.unlink(missing_ok=True)
        self.rows, self.resumed = 0, False

    def _continues(self, saved: Mapping[str, Any]) -> bool:
        if saved["render"] != self._render_name() or saved["bytes"] > self._part.stat().st_size:
            return False
        # Who asked for a revision before, and asks for none now, wants what there is by now.
        return bool(self._export.asked_revision or not saved.get("at_revision"))

    def _checkpoint(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        state = {"render": self._render_name(), "bytes": self._file.tell(), "rows": self.rows}
        state |= {"at_revision": self._export.asked_revision, "export": self._export.state_dict()}
        new = self._state.with_name(self._state.name + ".new")
        with new.open("wb") as file:
            file.write(json.dumps(state).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._state)
        self._checked = time.monotonic()

    def _report(self) -> None:
        if self._export.total is not None:
            self._on_progress(self._export.consumed, self._export.total)

    def _render_name(self) -> str:
        name = getattr(self._render, "__qualname__", "<nameless>")
        if "<" in name:
            # A lambda or a partial may be any other one the next time.
            name = secrets.token_hex(8)
        return f"{getattr(self._render, '__module__', '')}.{name}"


def _claimed(part: Path) -> IO[bytes]:
    """Return the file, opened for reading and writing by this process alone, for as long as it is open."""
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):  # else its writer has just finished it
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    raise FileExistsError(f"another process is writing {part}; let it finish, or write to another path")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _terminal_progress() -> Progress:
    """Show a line on stderr if that is a terminal, else nothing."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {counted(total, 'example')}" + ("\n" if done == total else ""))
            sys.stderr.flush()

    return show
