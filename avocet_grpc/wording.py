"""Sentences that several commands say, for terminals and the log."""

from __future__ import annotations

NEEDS_DRIVER = "a PostgreSQL store needs psycopg: in the source tree, run pip install '.[postgres]'"

FILES_BEHIND = "the shared files could not be brought up to date; start and stop again"


def why(error: Exception) -> str:
    """Return what an error says to a person: of the operating system's, the file and the reason without its number."""
    if isinstance(error, OSError) and error.strerror and type(error).__str__ is OSError.__str__:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def counted(number: int, one: str) -> str:
    """Return how many there are: `1 row`, `2,000 rows`. The plural of `one` is made with an s."""
    return f"{number:,} {one if number == 1 else one + 's'}"
