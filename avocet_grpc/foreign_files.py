"""Reading files that other programs and people write: bounded, never waiting, and with one error for all that is wrong.

YAML may be small and yet grow without bound when its aliases are followed, so its events are counted before anything
is built from them.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import yaml

MOST_BYTES = 1 << 20
"""Of a file that is read whole: a config file, tokens, a certificate."""
MOST_NODES = 100_000
"""Of a YAML text once each alias stands for what it names."""
MOST_DEPTH = 100
MOST_SCALAR = 10_000
"""Characters of a value that YAML may make a number or a time of; for long ones that takes the square of the time."""

# The compiled parser reads the events; where a PyYAML has none, the other one gives the same ones.
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """A file cannot be used; the text is one line for the operator."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, unbuffered. Raises OSError, also for a pipe or a device, which is not opened."""
    # A device may act on being opened, so it is looked at first; what was opened may be another file by then.
    _refuse_unless_regular(os.stat(path), path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        _refuse_unless_regular(os.fstat(descriptor), path)
        return open(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file. Raises OSError, with EFBIG if it has more than `most` bytes."""
    with open_regular(path) as file:
        return read_open(file, path, most)


def read_open(file: BinaryIO, path: Path, most: int = MOST_BYTES) -> bytes:
    """Return the content of an open file, from its beginning. Raises as `read_regular`."""
    file.seek(0)
    parts, left = list[bytes](), most + 1
    while left and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return b"".join(parts)


def read_text(path: Path) -> str:
    """Return the file's text. Raises Unreadable."""
    try:
        return read_regular(path).decode("utf-8")
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror or type(error).__name__}") from error
    except ValueError as error:
        raise Unreadable(f"{path} is not UTF-8 text") from error


def parse_yaml(text: str) -> Any:
    """Return what the YAML text says. Raises Unreadable for a text that is not valid or would grow too large."""
    refuse_unbounded(text)
    try:
        return yaml.safe_load(text)
    except Exception as error:
        # Its constructors raise whatever comes up: IndexError for `!!int ''`, AttributeError for `!!timestamp x`.
        raise Unreadable("the text is not valid YAML") from error


def refuse_unbounded(text: str) -> None:
    """Raises Unreadable if the text is not valid YAML, or has too many nodes, too deep a nesting, too long a number."""
    try:
        problem = _unbounded(text)
    except Exception as error:
        raise Unreadable("the text is not valid YAML") from error
    if problem:
        raise Unreadable(f"the YAML text has {problem}")


def _unbounded(text: str) -> str:
    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    size = 0
    for event in yaml.parse(text, Loader=_PARSER):
        if isinstance(event, yaml.AliasEvent):
            # An alias to what is still open leads in a circle.
            size += sizes.get(event.anchor, MOST_NODES)
        elif isinstance(event, yaml.ScalarEvent):
            size += 1
            if event.anchor:
                sizes[event.anchor] = 1
            if len(event.value) > MOST_SCALAR and (event.tag or event.style is None or event.style == ""):
                return f"a plain value of more than {MOST_SCALAR} characters"
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor, None)
            open_nodes.append((event.anchor, size))
            size += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = size - before
        if size > MOST_NODES:
            return f"more than {MOST_NODES} values, aliases included"
        if len(open_nodes) > MOST_DEPTH:
            return f"a nesting of more than {MOST_DEPTH}"
    return ""


def _refuse_unless_regular(seen: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(seen.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    if not stat.S_ISREG(seen.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
