"""Identity and roles: refuses a call before anything of its request is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from avocet_grpc.core.errors import CorrectionsError, IngestionNotConfigured, TokenMissing, TokenRefused
from avocet_grpc.edge.auth.policy import POLICIES, Role
from avocet_grpc.edge.auth.tokens import Token, find
from avocet_grpc.edge.call_context import current
from avocet_grpc.edge.interceptors.wrap import Call, Context, Layer


@dataclass(frozen=True, slots=True)
class Credentials:
    """The tokens that are good now. Without a tokens file (`open`) only the ingest calls ask for one."""

    tokens: tuple[Token, ...] = ()
    open: bool = True


class AuthLayer(Layer):
    """Holds each call against the policy table and the credentials of this moment."""

    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        self._credentials = credentials

    async def around(self, method: str, call: Call, context: Context) -> Any:
        refusal = self._refusal(method, self._credentials())
        if refusal is not None:
            raise refusal
        return await call()

    def _refusal(self, method: str, credentials: Credentials) -> CorrectionsError | None:
        if method not in POLICIES:
            return TokenRefused()
        role = POLICIES[method]
        if role is None or (credentials.open and role is not Role.INGEST):
            return None
        if not credentials.tokens and credentials.open:
            return IngestionNotConfigured("no secret")
        info = current.get()
        secret = _bearer(info.metadata)
        if not secret:
            return TokenMissing("no bearer token")
        token = find(credentials.tokens, secret, datetime.now(UTC))
        if token is None:
            return TokenRefused()
        info.principal = token.name
        return None if role in token.roles else TokenRefused(role)


def _bearer(metadata: Any) -> bytes:
    """The token of the call, empty where there is none; of several `authorization` values the first counts."""
    header = next((value for key, value in metadata if key.lower() == "authorization"), "")
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogateescape")
    scheme, _, token = raw.partition(b" ")
    return token if scheme.lower() == b"bearer" and token.strip() else b""
