"""How much of a fault test runs."""

from __future__ import annotations

import os

FULL = os.environ.get("FAULTS", "") == "full"


def rounds(short: int, full: int) -> int:
    return full if FULL else short
