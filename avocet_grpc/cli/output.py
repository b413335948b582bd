"""What a command prints, and what becomes of it if stdout cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.wording import why


class Unprintable(Exception):
    """Stdout cannot be written; the text says why."""


def refuse_closed_stdout() -> None:
    """Raises Unprintable if stdout is closed. Python itself would drop the line without an error."""
    if sys.stdout is None:
        raise Unprintable("stdout is closed")


def hand_over(line: str) -> None:
    """Print a line that must not be lost. Raises Unprintable if it was not written, or not all of it."""
    refuse_closed_stdout()
    try:
        print(line, flush=True)
    except OSError as error:
        _drop_output()
        raise Unprintable(why(error)) from error


def say(*lines: str, done: str = "") -> None:
    """Print what was done. If stdout cannot be written, it is done all the same: stderr says so, in one line.

    `done` is what stderr says; the first line if it is not given.
    """
    try:
        hand_over("\n".join(lines))
    except Unprintable as error:
        tell(f"avocet-grpc: {done or lines[0]}; only this report could not be written: {error}")


def tell(line: str) -> None:
    """Print a line to stderr. A command does not fail because nobody can be told, so this raises nothing."""
    # Without a stderr, print() would take stdout, which may be a file of tokens.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def finished(code: int) -> int:
    """Write what is left of the output. Return the exit code: `code`, or FAILED if it was OK and output is lost."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        _drop_output()
        if error.errno != errno.EPIPE:
            tell(f"avocet-grpc: the output could not be written: {why(error)}")
        return code or ExitCode.FAILED
    return code


def _drop_output() -> None:
    """The interpreter flushes what is left of the output at its end, and would complain once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
