"""Changing the tokens file: entries are added, ended and removed; comments and all other entries stay.

Each change is one durable rename, so that a server that reads the file sees the old entries or the new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from avocet_grpc.durable import replace_content
from avocet_grpc.edge.auth.policy import INCLUDED, Role
from avocet_grpc.edge.auth.tokens import Token, entry_text, new_token, parse_tokens, read_tokens
from avocet_grpc.foreign_files import Unreadable, read_text

SHOWN_DIGITS = 12
"""Of a token's SHA-256, to tell a name's tokens apart."""

NOBODY = "[]\n"
"""A server takes a file without anything for one that is being written."""


class NoSuchToken(Exception):
    """No entry has this name and id; the text is one line for the operator."""


def id_of(token: Token) -> str:
    """Return what tells the token from others of its name."""
    return token.sha256.hex()[:SHOWN_DIGITS]


def stated_roles(token: Token) -> list[Role]:
    """Return the token's roles without those that others of them bring."""
    return sorted(role for role in token.roles if not any(role in INCLUDED[one] for one in token.roles - {role}))


def add(path: Path, name: str, roles: Iterable[Role], expires: date | None) -> str:
    """Make a token, append its entry to the file (made if missing), and return the token.

    Raises Unreadable, ValueError or OSError; the file is then as it was.
    """
    token = new_token()
    entry = entry_text(name, token, roles, expires)
    with _alone(path) as place:
        before = _text(place)
        if not parse_tokens(before, place):
            before = _comments(before)
        after = before + ("" if not before or before.endswith("\n") else "\n") + entry
        parse_tokens(after, place)
        replace_content(place, after.encode())
    return token


def revoke(path: Path, name: str, id: str) -> tuple[Token, ...]:
    """Remove the name's entries, or the one whose digest begins with `id`. Return what was removed.

    Raises NoSuchToken, Unreadable or OSError; the file is then as it was.
    """
    with _alone(path) as place:
        tokens = read_tokens(place)
        gone = _of(tokens, name, id)
        _edit(place, tuple(token for token in tokens if token not in gone), lambda entry: _is(entry, gone), None)
    return gone


def rotate(path: Path, name: str, ends: datetime, expires: date | None) -> tuple[str, tuple[Token, ...]]:
    """Make a token with the roles of the name's newest one; end its other tokens at `ends`.

    A token that expires before `ends` keeps its day. Return the new token, and those that were given an end.
    Raises NoSuchToken, Unreadable or OSError; the file is then as it was.
    """
    with _alone(path) as place:
        tokens = read_tokens(place)
        olds = _of(tokens, name, "")
        late = tuple(token for token in olds if token.expires is None or token.expires > ends)
        expected = tuple(_ended(token, ends) if token in late else token for token in tokens)
        token = new_token()
        added = entry_text(name, token, stated_roles(olds[-1]), expires)
        _edit(place, expected, lambda entry: _is(entry, late), ends, added)
    return token, late


def _edit(
    path: Path, expected: tuple[Token, ...], chosen: Callable[[Any], bool], ends: datetime | None, added: str = ""
) -> None:
    """Remove the chosen entries, or give them an end; the outcome must be the expected tokens, and `added`."""
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 2**20
    before = _text(path)
    entries = editor.load(before) or []
    for number in reversed(range(len(entries))):
        if chosen(entries[number]):
            if ends is None:
                del entries[number]
            else:
                entries[number]["expires"] = ends
    out = io.StringIO()
    if entries:
        editor.dump(entries, out)
    else:
        out.write(_comments(before) + NOBODY)
    text = out.getvalue()
    if parse_tokens(text, path) != expected:
        raise Unreadable(f"{path} cannot be changed without touching other entries; edit it by hand")
    parse_tokens(text + added, path)
    replace_content(path, (text + added).encode())


def _comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))


def _of(tokens: tuple[Token, ...], name: str, id: str) -> tuple[Token, ...]:
    found = tuple(token for token in tokens if token.name == name and token.sha256.hex().startswith(id.lower()))
    if not found:
        raise NoSuchToken(f"there is no token of {name}" + (f" whose id begins with {id}" if id else ""))
    if id and len(found) > 1:
        raise NoSuchToken(f"{len(found)} tokens of {name} have ids that begin with {id}; give more of it")
    return found


def _is(entry: Any, tokens: tuple[Token, ...]) -> bool:
    return any(str(entry["sha256"]).lower() == token.sha256.hex() for token in tokens)


def _ended(token: Token, ends: datetime) -> Token:
    return Token(token.name, token.sha256, token.roles, ends.astimezone(UTC))


def _text(path: Path) -> str:
    return read_text(path) if path.exists() else ""


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """Change the file beside no other command; yields its path with links followed. Raises OSError, Unreadable."""
    place = Path(os.path.realpath(path))
    descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if place.exists():
            read_tokens(place)
        yield place
    finally:
        os.close(descriptor)
