"""A run file as the stream of messages that `UploadRun` takes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from avocet_client.requests import check_size, sendable
from avocet_client.v1 import corrections_pb2 as pb

FILE = "sft_candidates.jsonl"
PART_BYTES = 1_000_000
Sent = Callable[[int, int], None]
"""Called with how many bytes were read, and how many the file had when it was opened."""


class Upload:
    """The messages of one upload. `error` is what broke off reading, which gRPC does not pass on.

    Raises OSError if the file cannot be opened, and ValueError if it is not a regular file.
    """

    def __init__(
        self, path: str | Path, run_id: str, on_conflict: pb.OnConflict.ValueType, on_progress: Sent | None
    ) -> None:
        self._file, place = _opened(Path(path))
        self._run_id = run_id or place.parent.resolve().name
        self._on_conflict = on_conflict
        self._on_progress = on_progress
        self.error: BaseException | None = None

    def messages(self) -> Iterator[pb.UploadRunRequest]:
        """The messages, read as they are sent."""
        try:
            yield from self._read()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise

    def close(self) -> None:
        self._file.close()

    def _read(self) -> Iterator[pb.UploadRunRequest]:
        total = os.fstat(self._file.fileno()).st_size
        first = sendable(pb.UploadRunRequest)(run_id=self._run_id, on_conflict=self._on_conflict)
        check_size("UploadRun", first)
        yield first
        while lines := self._file.read(PART_BYTES):
            yield pb.UploadRunRequest(lines=lines)
            if self._on_progress is not None:
                self._on_progress(self._file.tell(), total)


def _opened(path: Path) -> tuple[IO[bytes], Path]:
    """The run's file, opened, and its path. A pipe or a device is refused before it can block."""
    if path.is_dir():
        path = path / FILE
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is not a regular file")
    return os.fdopen(descriptor, "rb"), path
