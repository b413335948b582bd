"""The judge of the abuse tests: what the server's processes hold at their worst, and whether good calls go on."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server

MOST_BYTES = 400 << 20
"""What all processes of the service may hold together: the sum of what each held at its worst."""
FULL = os.environ.get("ABUSE") == "full"
"""The long form; the short one sends a part of it, which a server without the limits does not survive either."""
DEADLINE_S = 5.0 if FULL else 60.0
"""Of a good call. The promise is one second; the rest is the machine's, which the attackers use as well."""


def peak_bytes(pids: list[int]) -> int:
    """The sum of what each process has held at its worst since `forget_peaks`."""
    peak = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{pid}/status").read_text()
            peak += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return peak


def shared_out_bytes(pids: list[int]) -> int:
    """What the processes hold now, each page that several share counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(rollup.partition("Pss:")[2].split()[0]) * 1024
    return total


def forget_peaks(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


class Judged:
    """Makes good calls until the block ends; none may fail, and the memory must stay below `most`.

    `small` is the id of a small record: then good calls read it, too.
    """

    def __init__(self, server: Server, what: str, most: int = MOST_BYTES, small: str = "") -> None:
        self._server, self._what, self._most, self._small = server, what, most, small
        self._end = threading.Event()
        self._slowest, self._calls, self._shared_out = 0.0, 0, 0
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._call)

    def __enter__(self) -> Judged:
        forget_peaks(self._server.pids)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        peak = peak_bytes(self._server.pids)
        others = peak - peak_bytes(self._server.processes("worker"))
        print(
            f"{self._what}: at most {peak >> 20} MB, {others >> 20} MB of it not the workers'; shared out, at most"
            f" {self._shared_out >> 20} MB at a time; {self._calls} good calls, the slowest took {self._slowest:.3f} s"
        )
        if kind is None:
            assert self._failed is None, self._failed
            assert self._calls > 0 and self._server.process.poll() is None
            assert peak < self._most, f"{peak >> 20} MB"

    def _call(self) -> None:
        while not self._end.is_set() and self._failed is None:
            began = time.monotonic()
            try:
                if self._small and self._calls % 2:
                    self._server.stub.GetCandidate(pb.GetCandidateRequest(id=self._small), timeout=DEADLINE_S)
                else:
                    self._server.stub.Stats(pb.StatsRequest(), timeout=DEADLINE_S)
            except BaseException as error:
                self._failed = error
            self._slowest = max(self._slowest, time.monotonic() - began)
            self._calls += 1
            self._shared_out = max(self._shared_out, shared_out_bytes(self._server.pids))
            self._end.wait(0.05)
