"""What the fault tests share: how many rounds, which seed, and what the machine must have."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRED = os.environ.get("REQUIRE_FAULT_TESTS") == "1"
"""Whether a fault that cannot be made here fails its test, rather than leaving it out."""
WHOLE = os.environ.get("FAULTS") == "full"
"""The whole of every row, as `make test-faults` runs it; else a short form."""

NEEDS: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "strace": lambda: shutil.which("strace") is not None,
    "setpriv": lambda: shutil.which("setpriv") is not None,
    "prlimit": lambda: shutil.which("prlimit") is not None,
    "unshare": lambda: shutil.which("unshare") is not None,
    "chattr": lambda: shutil.which("chattr") is not None,
    "loop": lambda: Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None,
}


def rounds(short: int, whole: int) -> int:
    """How many rounds a test runs: FAULT_ROUNDS where that is set, else by FAULTS=full or not."""
    return int(os.environ.get("FAULT_ROUNDS") or (whole if WHOLE else short))


def new_seed() -> int:
    """FAULT_SEED, or a new one; printed, so that a failure can be made again."""
    seed = int(os.environ.get("FAULT_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}; run it again with FAULT_SEED={seed}")
    return seed


def need(*things: str) -> None:
    """Leave the test out, loudly, where the machine lacks one of NEEDS; fail it under REQUIRE_FAULT_TESTS=1."""
    if lacking := [thing for thing in things if not NEEDS[thing]()]:
        text = f"FAULT TEST LEFT OUT: it needs {', '.join(lacking)} (`make setup-faults` as root installs what it can)"
        if REQUIRED:
            pytest.fail(text)
        warnings.warn(text, stacklevel=2)
        pytest.skip(text)


def whole_only() -> None:
    """Leave a long row out of the short form."""
    if not WHOLE:
        pytest.skip("a row of `make test-faults` alone")
