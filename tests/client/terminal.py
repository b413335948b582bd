"""A terminal whose keys a test presses and whose screen it reads."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pyte

WITHIN = 60.0


LAUNCH = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
for each in (signal.SIGHUP, signal.SIGINT):
    signal.signal(each, signal.SIG_DFL)  # which nohup and a script's background ignore
exec(sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Takes the terminal and becomes the command. A `preexec_fn` would fork the threads of gRPC, which it does not bear."""

HEED_INTERRUPTS = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Becomes the command, which heeds interrupts then. A `preexec_fn` would fork the threads of gRPC."""


class Terminal:
    """A process on a terminal of its own. `prepare` is Python that is run there before it."""

    def __init__(
        self, command: list[str], environment: dict[str, str], prepare: str = "", columns: int = 100, rows: int = 40
    ) -> None:
        self._ours, theirs = pty.openpty()
        self._seen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._seen)
        self._set_size(columns, rows)
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, prepare, shutil.which(command[0]) or command[0], *command[1:]],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.home = environment.get("HOME", "")
        self.screen = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def display(self) -> str:
        """What a person sees now: the lines of the screen, which has a size."""
        return "\n".join(line.rstrip() for line in self._seen.display)

    def resize(self, columns: int, rows: int) -> None:
        self.screen = ""
        self._seen.resize(rows, columns)
        self._set_size(columns, rows)

    def press(self, key: str) -> None:
        self.screen = ""
        os.write(self._ours, key.encode())

    def read_until(self, *texts: str) -> str:
        """What came since the last key, up to one of these texts."""
        deadline = time.monotonic() + WITHIN
        while not any(text in self.screen for text in texts):
            assert time.monotonic() < deadline, f"{texts} did not come; the screen has:\n{self.screen}"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self._ours, 65_536)
                except OSError:
                    data = b""
                assert data, f"it ended before {texts}:\n{self.screen}"
                self._stream.feed(data)
                self.screen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode(errors="replace"))
        return self.screen

    def rest(self) -> str:
        """What comes until the process has let the terminal go."""
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            try:
                data = os.read(self._ours, 65_536)
            except OSError:
                break
            self.screen += re.sub(r"\x1b\[[0-9;?]*m", "", data.decode(errors="replace"))
        return self.screen

    def set_mode(self, change: Callable[[list[Any]], None]) -> None:
        """Change the terminal's mode as another program on it would."""
        mode = termios.tcgetattr(self._ours)
        change(mode)
        termios.tcsetattr(self._ours, termios.TCSANOW, mode)

    def hang_up(self) -> None:
        """Close the terminal, as its window does."""
        os.close(self._ours)
        self._ours = os.open(os.devnull, os.O_RDWR)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        return self._process.wait(timeout=WITHIN)

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
