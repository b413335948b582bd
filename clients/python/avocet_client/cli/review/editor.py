"""A text in the reviewer's own editor, below comments that show what it is about."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from avocet_client.cli.review import programs

COMMENT = {".md": "#", ".json": "//"}
"""How a comment begins, by the extension of the file."""
SCISSORS = "-------- >8 --------"
TAKE_A_LINE = ("vi", "vim", "nvim", "view", "nano", "emacs", "micro", "joe")
"""Editors that take `+N`: begin at this line."""
LIKELIEST = ("sensible-editor", "vim", "nano")
LONG = 12
"""A comment so long is not a reviewer's own line by chance."""


class CommentsLeft(ValueError):
    """The line that ends the comments is gone, and some of them are left: what belongs to the text is not known."""


def composed(comments: Sequence[str], text: str, sign: str) -> str:
    """Return the text below the comments, which end with a line that the text does not have."""
    return "\n".join([*_head(comments, text, sign), text]) if comments else text


def without_comments(edited: str, comments: Sequence[str], text: str, sign: str) -> str:
    """Return what was typed, where `composed` with the same arguments is what the editor got.

    Raises CommentsLeft if it cannot be told.
    """
    head = _head(comments, text, sign)
    lines = edited.split("\n")
    if comments and head[-1] in lines:
        return "\n".join(lines[lines.index(head[-1]) + 1 :])
    kept = 0
    while comments and kept < min(len(head), len(lines)) and lines[kept] == head[kept]:
        kept += 1
    if any(line in lines[kept:] for line in head if len(line) >= LONG):
        raise CommentsLeft(f"The line {head[-1]!r} is gone, but comments are left. Remove them, or put it back.")
    return "\n".join(lines[kept:])


def open_in_editor(file: Path, line: int) -> bool:
    """Let the reviewer edit the file, and return whether it was saved. Raises ValueError if the editor fails.

    An editor that is known to take a line begins there.
    """
    stat = file.stat()
    # Some file systems count time in steps of two seconds.
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - 2_000_000_000))
    before = file.stat()
    editor = _editor()
    try:
        code = programs.run(editor, [*_beginning(editor, line), str(file)])
    except ValueError as error:
        raise ValueError(f"{error}; the variable EDITOR names the editor") from None
    if code:
        raise ValueError(f"{editor} ended with {code}; the variable EDITOR names the editor")
    after = file.stat()
    return (after.st_mtime_ns, after.st_ino) != (before.st_mtime_ns, before.st_ino)


def _editor() -> str:
    stated = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    return stated or next((name for name in LIKELIEST if shutil.which(name)), "vi")


def _beginning(editor: str, line: int) -> list[str]:
    name = Path(shlex.split(editor)[0]).name if editor.strip() else ""
    return [f"+{line}"] if name in TAKE_A_LINE else []


def _head(comments: Sequence[str], text: str, sign: str) -> list[str]:
    last = f"{sign} {SCISSORS}"
    while last in text.split("\n"):
        last += "-"
    return [*(f"{sign} {line}".rstrip() for line in comments), last]
