"""Files that are not what they should be, one of each kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
LIST_BOMB = f"a0: &a0 [x]\n{LAUGHS}"
MERGES = "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
MERGE_BOMB = f"m0: &m0 {{x: 1}}\n{MERGES}"
ENTRY = "- name: a\n  sha256: '" + "0" * 64 + "'\n  roles: [reader]\n  expires: {}\n"
ZERO = Path("/dev/zero")

TEXTS: Mapping[str, str] = {
    "a wrong time": ENTRY.format("!!timestamp tomorrow"),
    "a number without digits": ENTRY.format("!!int ''"),
    "a word for a truth value": ENTRY.format("!!bool maybe"),
    "a binary value that is none": ENTRY.format("!!binary '\u00fc'"),
    "a float that is none": ENTRY.format("!!float x"),
    "a tag of Python": ENTRY.format("!!python/object/apply:os.getcwd []"),
    "a time that no clock shows": ENTRY.format("0001-01-01T00:00:00+14:00"),
    "a number of 100,000 digits": f"- name: 0x{'f' * 100_000}\n  sha256: 1\n  roles: [reader]\n",
    "a number in base 60": f"- {'1:' + ':'.join(['59'] * 20_000)}\n",
    "deep lists": "[" * 3_000,
    "deep mappings": "{a: " * 3_000 + "}" * 3_000,
    "deep blocks": "".join(" " * n + "-\n" for n in range(1_000)),
    "a circle": "- &a [*a]\n",
    "an alias bomb of lists": LIST_BOMB,
    "an alias bomb of merges": MERGE_BOMB,
    "a bomb in a list": "- &b {" + ", ".join(f"k{n}: [x, y]" for n in range(100)) + "}\n" + "- *b\n" * 1_000,
    "no YAML": "a: [1\nb: }",
}

OTHERS: Mapping[str, Callable[[Path], object]] = {
    "a FIFO": lambda path: os.mkfifo(path, 0o600),
    "a directory": lambda path: path.mkdir(0o700),
    "a device": lambda path: path.symlink_to(ZERO),
    "a link to itself": lambda path: path.symlink_to(path),
    "a file of 100 MB": lambda path: _sparse(path, 100 << 20),
    "bytes that are no UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00"),
}

EMPTY: Mapping[str, Callable[[Path], object]] = {"nothing in it": lambda path: path.write_bytes(b"")}
"""A config file without anything in it is a good one."""

KINDS: Mapping[str, Callable[[Path], object]] = {
    **{name: (lambda path, text=text: path.write_text(text)) for name, text in TEXTS.items()},
    **OTHERS,
}


def put(path: Path, kind: str) -> None:
    """Put a file of this kind in the place of `path`, with nothing there in between but as `rm` leaves it."""
    take_away(path)
    {**KINDS, **EMPTY}[kind](path)
    if path.is_file():
        path.chmod(0o600)


def take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)
