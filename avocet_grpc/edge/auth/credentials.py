"""Which tokens are good now: the tokens file and the ingestion secret, kept up to date."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import structlog

from avocet_grpc.core.idempotency import SECRET_NAME
from avocet_grpc.edge.auth.reloading import Watched, refuse_if_open_to_others
from avocet_grpc.edge.auth.tokens import Credentials, Token, read_tokens, secret_token
from avocet_grpc.foreign_files import Unreadable, read_text
from avocet_grpc.settings import Settings

log = structlog.get_logger("avocet_grpc")


class WatchedCredentials:
    """The credentials that the settings name. Raises Unreadable if one of their files cannot be used.

    Each file is watched for itself: one that cannot be used keeps no change of the other away.
    """

    def __init__(self, settings: Settings) -> None:
        self._open = settings.tokens_file is None
        self._tokens = Watched("tokens", _paths(settings.tokens_file), _TokensFile(settings.tokens_file))
        secret = _paths(settings.ingestion_secret_file)
        self._secret = Watched("ingestion secret", secret, partial(_secret, settings))
        self.value = self._joined()

    @property
    def failures(self) -> int:
        """How often a changed file could not be taken up."""
        return self._tokens.failures + self._secret.failures

    def refresh(self, force: bool = False) -> None:
        """Read again what has changed; with `force` both files."""
        self._tokens.refresh(force)
        self._secret.refresh(force)
        self.value = self._joined()

    def _joined(self) -> Credentials:
        return Credentials(self._tokens.value + self._secret.value, open=self._open)


class _TokensFile:
    """Reads the tokens file. Once it had tokens, an empty one is taken for half of a file that is being written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._had: tuple[Token, ...] = ()

    def __call__(self) -> tuple[Token, ...]:
        if self._path is not None:
            self._had = read_tokens(self._path, may_be_empty=not self._had)
            _warn_of_reserved(self._had)
        return self._had


def _paths(path: Path | None) -> list[Path]:
    return [] if path is None else [path]


def _warn_of_reserved(tokens: tuple[Token, ...]) -> None:
    """Such a token goes on working: refusing it would lock out a caller that an earlier version let in."""
    if any(token.name == SECRET_NAME for token in tokens):
        log.warning(
            "a token has the name of the ingestion secret: history, log and request ids do not tell them apart;"
            " make a token of another name and revoke this one",
            name=SECRET_NAME,
        )


def _secret(settings: Settings) -> tuple[Token, ...]:
    secret = settings.ingestion_secret
    if settings.ingestion_secret_file:
        secret = _first_line(settings.ingestion_secret_file)
    return (secret_token(secret),) if secret else ()


def _first_line(path: Path) -> str:
    refuse_if_open_to_others(path)
    secret = read_text(path).rstrip("\r\n")
    if not secret.strip() or "\n" in secret:
        raise Unreadable(f"{path} must hold one line, the ingestion secret")
    return secret
