"""Sentences that have a number in them, for terminals and the log."""

from __future__ import annotations


def counted(number: int, one: str) -> str:
    """Return how many there are: `1 row`, `2,000 rows`. The plural of `one` is made with an s."""
    return f"{number:,} {one if number == 1 else one + 's'}"
