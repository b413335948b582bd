"""The way of every log line to stderr: a bounded queue and one thread that writes.

Logging never waits and never fails, whatever stderr is: a full disk, a closed pipe, a pipe that nobody reads. Lines
that cannot be queued or written are dropped and counted, and a line says so as soon as one can be written again.
"""

from __future__ import annotations

import atexit
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator

STDERR = 2
MOST_LINES = 10_000
"""Lines that may wait; the next one is dropped."""
MOST_CHARACTERS = 8_000
"""Of one line; the rest is cut off."""
ATOMIC_BYTES = 4_096
"""What several processes write to one pipe stays whole up to this size (PIPE_BUF); a longer line goes alone."""
PAUSE_S = 0.02
"""After each batch, so that the thread takes the interpreter's lock seldom; lines are that late at most."""
RETRY_S = 1.0
FLUSH_S = 1.0


class LineWriter:
    """Writes lines to `descriptor`. `report` makes the line that says how many were dropped.

    The thread starts with the first line. A forked child begins with an empty queue and a thread of its own.
    """

    def __init__(self, descriptor: int, report: Callable[[int], str]) -> None:
        self.dropped = 0
        self._descriptor, self.report = descriptor, report
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.flush)

    def _begin(self) -> None:
        # SimpleQueue alone may be entered again by the same thread, for example by a finalizer that logs.
        self._lines: queue.SimpleQueue[str | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()
        self._torn = False
        self._reported = self.dropped

    def put(self, line: str) -> None:
        """Queue the line, which has no newline, or drop it. Returns at once and raises nothing."""
        if self._lines.qsize() >= MOST_LINES:
            self._drop(1)
            return
        self._lines.put(line[:MOST_CHARACTERS])
        if self._thread is None:
            self._start()

    def flush(self, within: float = FLUSH_S) -> bool:
        """Wait until all lines so far are written or dropped; False if that takes longer than `within` seconds."""
        if self._thread is None:
            return True
        reached = threading.Event()
        self._lines.put(reached)
        return reached.wait(within)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter ends: the lines wait
                    return
                self._thread = thread

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count

    def _run(self) -> None:
        lines = self._lines
        while True:
            batch: list[str | threading.Event] = []
            try:
                batch.append(lines.get(timeout=RETRY_S if self.dropped > self._reported else None))
            except queue.Empty:
                self._report_dropped()
                continue
            for _ in range(min(lines.qsize(), MOST_LINES)):
                batch.append(lines.get())
            self._write(batch)
            time.sleep(PAUSE_S)

    def _write(self, batch: list[str | threading.Event]) -> None:
        flushed = [item for item in batch if isinstance(item, threading.Event)]
        for chunk in _chunks(item for item in batch if isinstance(item, str)):
            self._drop(self._unwritten(chunk))
        self._report_dropped()
        for event in flushed:
            event.set()

    def _report_dropped(self) -> None:
        if (count := self.dropped - self._reported) and not self._unwritten(_encoded(self.report(count))):
            self._reported += count

    def _unwritten(self, chunk: bytes) -> int:
        """Write whole lines. Returns how many of them could not be written."""
        rest = b"\n" + chunk if self._torn else chunk
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._some(rest) :]
        except OSError:
            if len(rest) < whole:
                self._torn = True
        else:
            self._torn = False
        return rest.count(b"\n") - (len(rest) == whole and rest.startswith(b"\n"))

    def _some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            # Another process has made the shared descriptor non-blocking.
            select.select([], [self._descriptor], [], RETRY_S)
            return 0


def _chunks(lines: Iterable[str]) -> Iterator[bytes]:
    chunk = b""
    for line in map(_encoded, lines):
        if chunk and len(chunk) + len(line) > ATOMIC_BYTES:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"
