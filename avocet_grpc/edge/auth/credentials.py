"""Which tokens are good now: the tokens file and the ingestion secret, kept up to date."""

from __future__ import annotations

from pathlib import Path

import structlog

from avocet_grpc.core.idempotency import SECRET_NAME
from avocet_grpc.edge.auth.reloading import Watched, refuse_if_open_to_others
from avocet_grpc.edge.auth.tokens import Token, read_tokens, secret_token
from avocet_grpc.edge.interceptors.auth import Credentials
from avocet_grpc.foreign_files import Unreadable, read_text
from avocet_grpc.settings import Settings

log = structlog.get_logger("avocet_grpc")


def watch_credentials(settings: Settings) -> Watched[Credentials]:
    """Return the credentials that the settings name. Raises Unreadable if one of their files cannot be used.

    Once the tokens file had tokens, an empty one is taken for half of a file that another program writes.
    """
    had: tuple[Token, ...] = ()

    def read() -> Credentials:
        nonlocal had
        if settings.tokens_file:
            had = read_tokens(settings.tokens_file, may_be_empty=not had)
            _warn_of_reserved(had)
        return Credentials(had + _secret(settings), open=settings.tokens_file is None)

    paths = [path for path in (settings.tokens_file, settings.ingestion_secret_file) if path is not None]
    return Watched("tokens", paths, read)


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
