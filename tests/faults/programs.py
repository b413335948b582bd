"""Starting foreign programs, and getting their reports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support import ROOT


class Program:
    """One foreign program; `arguments` are those of `tests.faults.foreign_program`."""

    def __init__(self, seed: int, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.faults.foreign_program", "--seed", str(seed), *map(str, arguments)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def report(self, timeout: float) -> dict[str, Any]:
        """What it did, once it has ended by itself."""
        out, _ = self.process.communicate(timeout=timeout)
        assert self.process.returncode == 0, f"a foreign program ended with {self.process.returncode}"
        found: dict[str, Any] = json.loads(out)
        return found

    def end(self) -> dict[str, Any]:
        """Stop it with SIGTERM; gives its report."""
        self.process.send_signal(signal.SIGTERM)
        return self.report(timeout=30)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def running(*programs: Program) -> Iterator[None]:
    """The programs end with the block, whatever happens in it."""
    try:
        yield
    finally:
        for program in programs:
            program.kill()
