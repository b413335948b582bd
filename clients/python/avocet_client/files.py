"""Files that the client writes whole: what may stand under their names."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str) -> None:
    """Write the file in one step, durable and private. Raises OSError, and leaves the file as it was then."""
    descriptor, made = tempfile.mkstemp(prefix=".", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        raise


def place_of(path: Path) -> Path:
    """Return where a file of this name is written: a link stays, and what it leads to is replaced.

    Raises FileExistsError if a directory, a pipe or a device has this name: a rename would put a file in its place.
    """
    place = Path(os.path.realpath(path))
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        return place
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise FileExistsError(f"{path} is {what}, and would be replaced; write to another path")
    return place
