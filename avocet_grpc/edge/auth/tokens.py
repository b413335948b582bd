"""The tokens file: who bears which token, with which roles."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from avocet_grpc.core.idempotency import SECRET_NAME
from avocet_grpc.edge.auth.policy import INCLUDED, Role
from avocet_grpc.edge.auth.reloading import refuse_if_open_to_others
from avocet_grpc.foreign_files import Unreadable, parse_yaml, read_text

KEYS = frozenset({"name", "sha256", "roles", "expires"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
PREFIX = "avocet_"
"""How a token begins, so that a scanner for leaked secrets knows one."""


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of the file: the SHA-256 of a token, not the token. `roles` has those that others bring, too."""

    name: str
    sha256: bytes
    roles: frozenset[Role]
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """The tokens that are good now. Without a tokens file (`open`) only the ingest calls ask for one."""

    tokens: tuple[Token, ...] = ()
    open: bool = True


def find(tokens: Iterable[Token], secret: bytes, now: datetime) -> Token | None:
    """Return the entry of this token, if it has not expired. Takes as long whether and wherever one matches."""
    digest, found = hashlib.sha256(secret).digest(), None
    for token in tokens:
        if hmac.compare_digest(token.sha256, digest):
            found = token
    return None if found is None or (found.expires and found.expires <= now) else found


def secret_token(secret: str) -> Token:
    """Return the ingestion secret as a token: it opens the two ingest calls."""
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
    return Token(SECRET_NAME, digest, INCLUDED[Role.INGEST])


def read_tokens(path: Path, *, may_be_empty: bool = True) -> tuple[Token, ...]:
    """Return the file's entries.

    Raises Unreadable: no such file, open to others, not valid YAML, an entry not of its form, or as `parse_tokens`.
    """
    refuse_if_open_to_others(path)
    return parse_tokens(read_text(path), path, may_be_empty=may_be_empty)


def parse_tokens(text: str, path: Path, *, may_be_empty: bool = True) -> tuple[Token, ...]:
    """Return the entries of a tokens file's text; `path` is for the error. Raises Unreadable.

    A text without anything but comments has no entries, or is refused unless it `may_be_empty`; `[]` always says none.
    """
    try:
        entries = parse_yaml(text)
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from error
    if entries is None and not may_be_empty:
        raise Unreadable(f"{path} is empty, as a file that is being written; write [] if nobody is to have a token")
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise Unreadable(f"{path} must be a list of entries with name, sha256, roles and perhaps expires")
    tokens = tuple(_token(entry, f"{path}, entry {number}") for number, entry in enumerate(entries, 1))
    if len({token.sha256 for token in tokens}) < len(tokens):
        raise Unreadable(f"{path} has the same sha256 twice")
    return tokens


def new_token() -> str:
    """Return a token that nobody guesses: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def entry_text(name: str, token: str, roles: Iterable[Role], expires: date | None) -> str:
    """Return the token's entry as the file's text. Raises ValueError if the name is not of its form or is reserved."""
    if not NAME.fullmatch(name):
        raise ValueError("a name has 1 to 128 letters, digits or any of ._@+-, and begins with a letter or a digit")
    if name == SECRET_NAME:
        raise ValueError(f"{name} is the name of the ingestion secret in history and log; take another name")
    lines = [
        f"- name: {name}",
        f"  sha256: {hashlib.sha256(token.encode()).hexdigest()}",
        f"  roles: [{', '.join(roles)}]",
    ]
    return "\n".join(lines + ([f"  expires: {expires.isoformat()}"] if expires else [])) + "\n"


def _token(entry: Any, where: str) -> Token:
    if not isinstance(entry, dict) or not {"name", "sha256", "roles"} <= entry.keys() <= KEYS:
        raise Unreadable(f"{where}: must have name, sha256 and roles, may have expires, and nothing else")
    name, sha256 = _text(entry["name"]), _text(entry["sha256"])
    if not NAME.fullmatch(name):
        raise Unreadable(f"{where}: the name must have 1 to 128 letters, digits or any of ._@+-")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise Unreadable(f"{where}: sha256 must be 64 hexadecimal digits in quotes; 'avocet-grpc token new' makes them")
    return Token(name, bytes.fromhex(sha256), _roles(entry["roles"], where), _expires(entry.get("expires"), where))


def _text(value: Any) -> str:
    """Return the value as text: YAML reads some names as numbers. A list or mapping is neither name nor digest."""
    return str(value) if isinstance(value, str) or (isinstance(value, int) and abs(value) < 10**128) else ""


def _roles(words: Any, where: str) -> frozenset[Role]:
    known = {role.value for role in Role}
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word in known for word in words):
        raise Unreadable(f"{where}: roles must be a list of {', '.join(known)}")
    return frozenset().union(*(INCLUDED[Role(word)] for word in words))


def _expires(value: Any, where: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise Unreadable(f"{where}: expires must be a date or a time, for example 2027-01-31 or 2027-01-31T12:00:00Z")
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError) as error:
        raise Unreadable(f"{where}: expires is not a time that a clock can show") from error
