"""Single keys from the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator


class Keys:
    """The keyboard, key by key and without echo; one that is pressed too early waits. Use it as `with Keys()`."""

    def __enter__(self) -> Keys:
        self._fd = sys.stdin.fileno()
        self._cooked = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._cooked)

    def read(self) -> str:
        """The next key in lower case, or "" where the terminal is gone. Raises KeyboardInterrupt for Ctrl-C."""
        return os.read(self._fd, 1).decode(errors="replace").lower()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """The terminal as it was, for another program."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
