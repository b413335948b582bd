"""Single keys from the terminal, and Ctrl-C at any moment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator

INTERRUPT = b"\x03"
ESCAPE = b"\x1b"
SEQUENCE_WITHIN_S = 0.05
"""How soon the rest of an arrow's or function key's sequence follows its escape."""


class Keys:
    """The keyboard, key by key and without echo; one that is pressed too early waits. Use it as `with keys:`.

    Ctrl-C raises KeyboardInterrupt wherever the program is. One that Python loses (it comes just before a wait begins,
    reaches another thread, or is raised while an object is finalised), or that the terminal hands over as a key, is
    raised by the next `read`. It counts even where the program was started with SIGINT ignored, as a script's
    background jobs are.
    """

    def __enter__(self) -> Keys:
        self._fd = sys.stdin.fileno()
        self._cooked = termios.tcgetattr(self._fd)
        self._signals, signalled = os.pipe()
        os.set_blocking(signalled, False)
        self._wakeup = signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        # After Ctrl-Z the shell may give the terminal back in its own mode.
        handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGCONT: lambda *_: self._take_terminal()}
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._take_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._cooked)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(signal.set_wakeup_fd(self._wakeup))
        os.close(self._signals)

    def read(self) -> str:
        """Return the next key in lower case, or "" if the terminal is gone. Raises KeyboardInterrupt for Ctrl-C.

        An arrow or another key that sends a sequence is its escape alone, and none of the letters that follow.
        """
        key = self._byte()
        if key == INTERRUPT:
            raise KeyboardInterrupt
        if key == ESCAPE:
            self._skip_sequence()
        return key.decode(errors="replace").lower()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """The terminal as it was, for another program."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def _take_terminal(self) -> None:
        tty.setcbreak(self._fd, termios.TCSADRAIN)

    def _byte(self, within: float | None = None) -> bytes:
        """Return the next byte, or none if the terminal is gone, or nothing comes in time."""
        while True:
            ready, _, _ = select.select([self._fd, self._signals], [], [], within)
            if self._signals not in ready:
                return os.read(self._fd, 1) if ready else b""
            if signal.SIGINT in os.read(self._signals, select.PIPE_BUF):
                raise KeyboardInterrupt

    def _skip_sequence(self) -> None:
        if self._byte(SEQUENCE_WITHIN_S) in (b"[", b"O"):
            while b" " <= self._byte(SEQUENCE_WITHIN_S) < b"@":
                pass
