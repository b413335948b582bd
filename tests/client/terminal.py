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

WITHIN = 20.0


LAUNCH = """\
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
exec(sys.argv[1])
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Takes the terminal and becomes the command. A `preexec_fn` would fork the threads of gRPC, which it does not bear."""


class Terminal:
    """A process on a terminal of its own. `prepare` is Python that is run there before it."""

    def __init__(
        self, command: list[str], environment: dict[str, str], prepare: str = "", columns: int = 100, rows: int = 40
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, prepare, shutil.which(command[0]) or command[0], *command[1:]],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = ""

    def press(self, key: str) -> None:
        self.screen = ""
        os.write(self._ours, key.encode())

    def read_until(self, text: str) -> str:
        """What came since the last key, up to `text`."""
        deadline = time.monotonic() + WITHIN
        while text not in self.screen:
            assert time.monotonic() < deadline, f"{text!r} did not come; the screen has:\n{self.screen}"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self._ours, 65_536)
                except OSError:
                    data = b""
                assert data or text in self.screen, f"it ended before {text!r}:\n{self.screen}"
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

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        return self._process.wait(timeout=WITHIN)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
