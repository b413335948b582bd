"""What the fault tests share: how many rounds, which seed, and what the machine must have."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REQUIRED = os.environ.get("REQUIRE_FAULT_TESTS") == "1"
"""Whether a fault that cannot be made here fails its test, rather than leaving it out."""
WHOLE = os.environ.get("FAULTS") == "full"
"""The whole of every row, as `make test-faults` runs it; else a short form."""

# Where the file systems' tools lie, which not every environment of root's has in its path.
os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

NEEDS: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "strace": lambda: shutil.which("strace") is not None,
    "setpriv": lambda: shutil.which("setpriv") is not None,
    "gcc": lambda: shutil.which("gcc") is not None,
    "prlimit": lambda: shutil.which("prlimit") is not None,
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


@contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[None]:
    """A file system at `where` (`arguments` are those of mount), for as long as the `with` lasts."""
    if not where.exists():
        where.mkdir(parents=True)
    run("mount", *arguments, str(where))
    try:
        yield
    finally:
        run("umount", "--lazy", str(where))


@contextmanager
def ext4(where: Path, image: Path, megabytes: int = 64, options: str = "loop") -> Iterator[None]:
    """A new ext4 in a file of this size, mounted at `where`.

    Its blocks are pages, as on any disk that is not tiny: with smaller ones a full disk ends SQLite by SIGBUS.
    """
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run("mkfs.ext4", "-q", "-F", "-b", "4096", str(image))
    with mounted(where, "-o", options, str(image)):
        yield


def run(*command: str) -> str:
    """Run a command; gives its output. Raises AssertionError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done.stdout
