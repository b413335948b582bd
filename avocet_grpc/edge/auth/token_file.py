"""Changing the tokens file: entries are added, ended and removed; comments and all other entries stay.

Each change is one durable rename, so that a server that reads the file sees the old entries or the new ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from avocet_grpc.durable import replace_content
from avocet_grpc.edge.auth import bracketed
from avocet_grpc.edge.auth.policy import INCLUDED, Role
from avocet_grpc.edge.auth.tokens import Token, entry_text, new_token, parse_tokens, read_tokens
from avocet_grpc.foreign_files import Unreadable, parse_yaml, read_text

SHOWN_DIGITS = 12
"""Of a token's SHA-256, to tell a name's tokens apart."""

Deliver = Callable[[str], None]
"""Gives a new token to whoever asked for it. What it raises leaves the file as it was."""

LOCK_S = 2.0
"""How long the first token of a file waits for another command."""
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


def add(path: Path, name: str, roles: Iterable[Role], expires: date | None, deliver: Deliver) -> None:
    """Make a token, deliver it, and append its entry to the file (made if missing).

    Raises Unreadable, ValueError, OSError or what `deliver` raises; the file is then as it was.
    """
    token = new_token()
    entry = entry_text(name, token, roles, expires)
    with _alone(path) as place:
        before = _text(place)
        if not parse_tokens(before, place):
            before = _comments(before)
        _put(place, _appended(before, entry, place), token, deliver)


def revoke(path: Path, name: str, id: str | None) -> tuple[Token, ...]:
    """Remove the name's entries, or the one whose digest begins with `id`. Return what was removed.

    Raises NoSuchToken, Unreadable or OSError; the file is then as it was.
    """
    with _alone(path) as place:
        tokens = read_tokens(place)
        gone = _of(tokens, name, id)
        left = tuple(token for token in tokens if token not in gone)
        replace_content(place, _edited(place, left, gone, None).encode())
    return gone


def rotate(path: Path, name: str, ends: datetime, expires: date | None, deliver: Deliver) -> tuple[Token, ...]:
    """Make a token with the roles of the name's newest one, deliver it, and end the name's other tokens at `ends`.

    A token that expires before `ends` keeps its day. Return those that were given an end. Raises NoSuchToken,
    Unreadable, ValueError, OSError or what `deliver` raises; the file is then as it was.
    """
    with _alone(path) as place:
        tokens = read_tokens(place)
        olds = _of(tokens, name, None)
        late = tuple(token for token in olds if token.expires is None or token.expires > ends)
        expected = tuple(_ended(token, ends) if token in late else token for token in tokens)
        token = new_token()
        entry = entry_text(name, token, stated_roles(olds[-1]), expires)
        _put(place, _appended(_edited(place, expected, late, ends), entry, place), token, deliver)
    return late


def _put(place: Path, text: str, token: str, deliver: Deliver) -> None:
    """Deliver the token, then replace the file at once: nobody has to take back an entry whose token is lost."""
    delivered = False

    def hand_over() -> None:
        nonlocal delivered
        deliver(token)
        delivered = True

    try:
        replace_content(place, text.encode(), hand_over)
    except OSError as error:
        if not delivered:
            raise
        why = error.strerror or type(error).__name__
        raise Unreadable(
            f"cannot replace {place}: {why}; the token that was printed is not in it, unless 'token list' shows it"
        ) from error


def _edited(path: Path, expected: tuple[Token, ...], chosen: tuple[Token, ...], ends: datetime | None) -> str:
    """Return the file's text with the chosen entries removed, or given an end. Its tokens are the expected ones."""
    before = _text(path)
    with _by_hand(path):
        if not expected:
            text = _comments(before) + NOBODY
        elif bracketed.is_bracketed(before):
            digests = {token.sha256.hex() for token in chosen}
            if ends is None:
                text = bracketed.without(before, digests.__contains__)
            else:
                text = bracketed.with_end(before, digests.__contains__, ends)
        else:
            text = _edited_blocks(before, chosen, ends)
        if parse_tokens(text, path) == expected:
            return text
    raise Unreadable(f"{path} cannot be changed without touching other entries; edit it by hand")


def _edited_blocks(before: str, chosen: tuple[Token, ...], ends: datetime | None) -> str:
    editor, entries = _loaded(before)
    for number in reversed(range(len(entries))):
        if _is(entries[number], chosen):
            if ends is None:
                del entries[number]
            else:
                entries[number]["expires"] = ends
    return _dumped(editor, entries)


def _appended(before: str, entry: str, path: Path) -> str:
    """Return the text with one more entry: below the others, or inside the brackets of a list that has them."""
    expected = parse_tokens(before, path) + parse_tokens(entry, path)
    text = before + ("" if not before or before.endswith("\n") else "\n") + entry
    with contextlib.suppress(Unreadable):
        if parse_tokens(text, path) == expected:
            return text
    with _by_hand(path):
        if bracketed.is_bracketed(before):
            text = bracketed.with_entry(before, parse_yaml(entry)[0])
        else:
            # Its blocks are indented, or the text says where it ends.
            editor, entries = _loaded(before)
            entries.append(editor.load(entry)[0])
            text = _dumped(editor, entries)
        if parse_tokens(text, path) == expected:
            return text
    raise Unreadable(
        f"{path} cannot take another entry without touching those that it has; run 'avocet-grpc token new' without"
        " --tokens-file, and put the entry that it prints into the file by hand"
    )


@contextlib.contextmanager
def _by_hand(path: Path) -> Iterator[None]:
    """The editor is stricter than the service's parser, in duplicate keys for one. Raises Unreadable."""
    try:
        yield
    except (YAMLError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise Unreadable(f"{path} is of a form that this command cannot edit; edit it by hand") from error


def _loaded(text: str) -> tuple[YAML, Any]:
    editor = YAML(typ="rt")
    editor.preserve_quotes = True
    editor.width = 2**20
    return editor, editor.load(text)


def _dumped(editor: YAML, entries: Any) -> str:
    out = io.StringIO()
    editor.dump(entries, out)
    return out.getvalue()


def _comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if line.lstrip().startswith("#"))


def _of(tokens: tuple[Token, ...], name: str, id: str | None) -> tuple[Token, ...]:
    if id == "":
        # Every id begins with it. It comes from a variable that a script did not set.
        raise NoSuchToken("the id is empty; 'avocet-grpc token list' shows the ids")
    named = tuple(token for token in tokens if token.name == name)
    found = named if id is None else tuple(token for token in named if token.sha256.hex().startswith(id.lower()))
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
    descriptor = _locked(place)
    try:
        if place.exists():
            read_tokens(place)
        yield place
    finally:
        os.close(descriptor)


def _locked(place: Path) -> int:
    """Return the file, locked; if there is none yet, its directory. Raises OSError.

    The directory of a file that is there is left alone: if it is a data directory, its server holds that lock.
    """
    while True:
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            descriptor = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _wait_for_lock(descriptor)
            if not place.exists():
                return descriptor
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                # The command before may have put another file in its place.
                if os.path.samestat(os.fstat(descriptor), os.stat(place)):
                    return descriptor
        os.close(descriptor)


def _wait_for_lock(directory: int) -> None:
    """Lock the directory, or give up: its server keeps the lock, and no other command takes as long."""
    until = time.monotonic() + LOCK_S
    while time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_S / 100)
