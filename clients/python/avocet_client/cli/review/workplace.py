"""The file that an editor works on: in a private directory, which tells afterwards whether the edit came to its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from avocet_client.cli.review.editor import COMMENT, CommentsLeft, composed, open_in_editor, without_comments

BEGUN = "begun.json"


@dataclass(frozen=True)
class Begun:
    """What an edit began with."""

    id: str
    text: str
    comments: list[str] = field(default_factory=list)
    extension: str = ".md"


@contextlib.contextmanager
def workplace(parent: Path, name: str, begun: Begun) -> Iterator[Path]:
    """A directory for one edit, which this process has locked; it goes when the block ends without an error."""
    place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    lock = os.open(place, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        _write(place / BEGUN, json.dumps(asdict(begun)))
        content = composed(begun.comments, begun.text, COMMENT[begun.extension])
        _write(_file(place, begun), content if content.endswith("\n") else f"{content}\n")
        yield place
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)


def edited_in(place: Path, begun: Begun) -> tuple[str, bool]:
    """Let the reviewer edit; return the text, and whether it was saved.

    Raises ValueError, with words for the reviewer, if the editor fails or what it leaves cannot be read.
    """
    saved = open_in_editor(_file(place, begun), len(begun.comments) + 2)
    return _read(place, begun), saved


def abandoned(parent: Path, name: str = "") -> Iterator[tuple[Path, Begun, str]]:
    """The directories of edits whose process has died: what each began with, and what was typed and saved there.

    One that is still at work, or that is not of this program, is left out. If it cannot be told where the comments end,
    they come with the text. The text is empty if nothing was changed.
    """
    for place in sorted(parent.glob(f"{name}*-*")):
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                begun = Begun(**json.loads((place / BEGUN).read_text(encoding="utf-8")))
                try:
                    text = _read(place, begun)
                except CommentsLeft:
                    text = _content(place, begun)
                yield place, begun, "" if text == begun.text else text
            finally:
                os.close(lock)


def _file(place: Path, begun: Begun) -> Path:
    return place / f"correction{begun.extension}"


def _content(place: Path, begun: Begun) -> str:
    try:
        edited = _file(place, begun).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ValueError(f"What you typed is not UTF-8. It is kept in {_file(place, begun)}") from None
    return edited if begun.text.endswith("\n") else edited.removesuffix("\n")


def _read(place: Path, begun: Begun) -> str:
    return without_comments(_content(place, begun), begun.comments, begun.text, COMMENT[begun.extension])


def _write(path: Path, content: str) -> None:
    # The directory is private already; a copy of the file should be, too.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", newline="") as to:
        to.write(content)
