"""Single keys from the terminal, and signals at any moment."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPT = b"\x03"
ESCAPE = "\x1b"
RESIZED = "resized"
"""What `read` returns in place of a key after the terminal has got another size."""
SEQUENCE_WITHIN_S = 0.05
"""How soon the rest of an arrow's or function key's sequence follows its escape."""
SETTLED_AFTER_S = 0.2
"""A window that is dragged sends many sizes; the last one counts."""
ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come: leave, and clean up on the way."""


class Keys:
    """The keyboard, key by key and without echo; one that is pressed too early waits. Use it as `with keys:`.

    Ctrl-C raises KeyboardInterrupt wherever the program is, SIGTERM and SIGHUP raise Terminated. One that Python loses
    (it comes just before a wait begins, reaches another thread, or is raised while an object is finalised), or that the
    terminal hands over as a key, is raised by the next `read`. Ctrl-C counts even where the program was started with
    SIGINT ignored, as a script's background jobs are; a SIGHUP that `nohup` ignores stays ignored.
    """

    def __enter__(self) -> Keys:
        self._fd = sys.stdin.fileno()
        self._cooked = termios.tcgetattr(self._fd)
        self._signals, signalled = os.pipe()
        os.set_blocking(signalled, False)
        os.set_blocking(self._signals, False)
        self._wakeup = signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        self._resized = False
        # After Ctrl-Z the shell may give the terminal back in its own mode.
        handlers: dict[int, Callable[..., Any]] = {
            signal.SIGINT: signal.default_int_handler,
            signal.SIGCONT: lambda *_: self._take_terminal(),
            signal.SIGWINCH: lambda *_: None,
        }
        handlers |= {number: _end for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN}
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        self._take_terminal()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_terminal()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(signal.set_wakeup_fd(self._wakeup))
        os.close(self._signals)

    def read(self) -> str:
        """Return the next key in lower case, RESIZED, or "" if the terminal is gone.

        Raises KeyboardInterrupt for Ctrl-C, and Terminated. An arrow or another key that sends a sequence is its escape
        alone, and none of the letters that follow. Enter is "\\n".
        """
        key = self._byte()
        if self._resized:
            self._settle()
            return RESIZED
        if key == INTERRUPT:
            raise KeyboardInterrupt
        if key.decode(errors="replace") == ESCAPE:
            self._skip_sequence()
        return key.decode(errors="replace").lower().replace("\r", "\n")

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """The terminal as it was, for another program, whose Ctrl-C is its own."""
        interrupt = signal.signal(signal.SIGINT, lambda *_: None)
        stopped = signal.signal(signal.SIGCONT, lambda *_: None)
        self._give_terminal()
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGCONT, stopped)
            self._take_terminal()
            with contextlib.suppress(BlockingIOError):
                os.read(self._signals, select.PIPE_BUF)

    def _take_terminal(self) -> None:
        with contextlib.suppress(termios.error):  # it is gone, which the next read tells
            tty.setcbreak(self._fd, termios.TCSADRAIN)

    def _give_terminal(self) -> None:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._cooked)

    def _byte(self, within: float | None = None) -> bytes:
        """Return the next byte, or none if the terminal is gone or resized, or nothing comes in time."""
        while not self._resized:
            ready, _, _ = select.select([self._fd, self._signals], [], [], within)
            if self._signals in ready:
                self._heed()
            elif not ready:
                break
            else:
                with contextlib.suppress(OSError):
                    return os.read(self._fd, 1)
                break
        return b""

    def _heed(self) -> None:
        """Raise for the signals that have come, and note another size."""
        numbers = os.read(self._signals, select.PIPE_BUF)
        if any(number in numbers for number in ENDINGS):
            raise Terminated
        if signal.SIGINT in numbers:
            raise KeyboardInterrupt
        self._resized |= signal.SIGWINCH in numbers

    def _settle(self) -> None:
        while select.select([self._signals], [], [], SETTLED_AFTER_S)[0]:
            self._heed()
        self._resized = False

    def _skip_sequence(self) -> None:
        if self._byte(SEQUENCE_WITHIN_S) in (b"[", b"O"):
            while b" " <= self._byte(SEQUENCE_WITHIN_S) < b"@":
                pass


def _end(*_: object) -> None:
    raise Terminated
