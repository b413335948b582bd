"""Identity and roles: refuses a call before anything of its request is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from avocet_grpc.core.errors import CorrectionsError, IngestionNotConfigured, TokenMissing, TokenRefused
from avocet_grpc.edge.auth.policy import POLICIES, Role
from avocet_grpc.edge.auth.tokens import Credentials, Token, find
from avocet_grpc.edge.call_context import CallInfo

Clock = Callable[[], datetime]
"""The wall clock. An end is a moment of the calendar, so it follows the clock when somebody sets it, either way."""


class Admission:
    """Holds each call against the policy table and the credentials of this moment."""

    def __init__(self, credentials: Callable[[], Credentials], clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._credentials, self._clock = credentials, clock

    def admit(self, method: str, info: CallInfo) -> None:
        """Let the call go on, and note its token's name. Raises what the caller is to be told."""
        credentials = self._credentials()
        token = _admitted(method, credentials, info, self._clock())
        if token is not None:
            info.recheck = _Recheck(self._credentials, self._clock, method, info, credentials, token)


class _Recheck:
    """Refuses a token that was revoked, has expired, or has lost its role since the call began."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        clock: Clock,
        method: str,
        info: CallInfo,
        seen: Credentials,
        token: Token,
    ) -> None:
        self._credentials, self._clock, self._method, self._info = credentials, clock, method, info
        self._seen, self._token = seen, token

    def __call__(self) -> None:
        credentials, expires, now = self._credentials(), self._token.expires, self._clock()
        if credentials is self._seen and (expires is None or now < expires):
            return
        try:
            token = _admitted(self._method, credentials, self._info, now)
        except CorrectionsError as error:
            raise TokenRefused() from error
        if token is not None:
            self._seen, self._token = credentials, token


def _admitted(method: str, credentials: Credentials, info: CallInfo, now: datetime) -> Token | None:
    """Return the token that opens the method; None if it requires none. Raises what the caller is to be told."""
    if method not in POLICIES:
        raise TokenRefused()
    role = POLICIES[method]
    if role is None or (credentials.open and role is not Role.INGEST):
        return None
    if not credentials.tokens and credentials.open:
        raise IngestionNotConfigured("no secret")
    secret = _bearer(info.metadata)
    if not secret:
        raise TokenMissing("no bearer token")
    token = find(credentials.tokens, secret, now)
    if token is None:
        raise TokenRefused()
    # The log has the name of a token that lacks the role, too.
    info.principal = token.name
    if role not in token.roles:
        raise TokenRefused(role)
    return token


def _bearer(metadata: Any) -> bytes:
    """Return the token of the call, empty if there is none; of several `authorization` values the first counts."""
    header = next((value for key, value in metadata if key.lower() == "authorization"), "")
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogateescape")
    scheme, _, token = raw.partition(b" ")
    return token if scheme.lower() == b"bearer" and token.strip() else b""
