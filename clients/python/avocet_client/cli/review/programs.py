"""Other programs on the terminal: the editor and the pager."""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
from collections.abc import Sequence

ENDS_WITHIN_S = 5.0
"""How long a program has to keep what it holds, when this one is told to end."""


def run(command: str, arguments: Sequence[str] = (), stdin: bytes | None = None) -> int:
    """Run a command line, with these arguments added, and return its exit code. Ctrl-C is its own meanwhile.

    `stdin` is what it reads; without it, it reads the terminal. Raises ValueError if the command cannot be run.
    """
    # A handler, since the program would inherit that the signal is ignored.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        words = [*shlex.split(command), *arguments]
        child = subprocess.Popen(words, stdin=subprocess.PIPE if stdin is not None else None)
    except OSError as error:
        signal.signal(signal.SIGINT, before)
        raise ValueError(f"{command} cannot be run: {error.strerror}") from None
    except ValueError as error:
        signal.signal(signal.SIGINT, before)
        raise ValueError(f"{command} cannot be run: {error}") from None
    try:
        child.communicate(stdin)
        return child.returncode
    except BaseException:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(ENDS_WITHIN_S)
        raise
    finally:
        signal.signal(signal.SIGINT, before)
