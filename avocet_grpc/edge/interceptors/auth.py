"""Who may call what: a table from each method's full name to its policy; what is not in it is refused."""

from __future__ import annotations

import enum
import hmac
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import grpc

from avocet_grpc.core.errors import CorrectionsError, IngestionNotConfigured, TokenMissing, TokenRefused
from avocet_grpc.edge.interceptors.wrap import Continuation, Handler, with_behavior


class Policy(enum.Enum):
    """What a method asks of its caller."""

    OPEN = "open"
    INGEST = "ingest"


_OURS = "/avocet.corrections.v1.CorrectionsService"
_HEALTH = "/grpc.health.v1.Health"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection"

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        f"{_OURS}/ListRuns": Policy.OPEN,
        f"{_OURS}/Import": Policy.OPEN,
        f"{_OURS}/Queue": Policy.OPEN,
        f"{_OURS}/GetCandidate": Policy.OPEN,
        f"{_OURS}/Submit": Policy.OPEN,
        f"{_OURS}/Undo": Policy.OPEN,
        f"{_OURS}/StreamExport": Policy.OPEN,
        f"{_OURS}/Stats": Policy.OPEN,
        f"{_OURS}/GetConfig": Policy.OPEN,
        f"{_OURS}/SetConfig": Policy.OPEN,
        f"{_OURS}/Ingest": Policy.INGEST,
        f"{_OURS}/StreamIngest": Policy.INGEST,
        f"{_HEALTH}/Check": Policy.OPEN,
        f"{_HEALTH}/Watch": Policy.OPEN,
        f"{_REFLECTION}/ServerReflectionInfo": Policy.OPEN,
    }
)


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses a call before its request is even parsed."""

    def __init__(self, ingestion_secret: str) -> None:
        self._secret = ingestion_secret.encode("utf-8", "surrogateescape")

    async def intercept_service(
        self,
        continuation: Continuation,
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        refusal = self._refusal(handler_call_details)
        return handler if refusal is None else _refusing(handler, refusal)

    def _refusal(self, details: grpc.HandlerCallDetails) -> CorrectionsError | None:
        policy = POLICIES.get(details.method)
        if policy is Policy.OPEN:
            return None
        if policy is None:
            return TokenRefused("the method has no policy")
        if not self._secret:
            return IngestionNotConfigured("no secret")
        token = _bearer(details)
        if not token:
            return TokenMissing("no bearer token")
        return None if hmac.compare_digest(token, self._secret) else TokenRefused("wrong token")


def _bearer(details: grpc.HandlerCallDetails) -> bytes:
    """The token of the call, empty where there is none; of several `authorization` values the first counts."""
    metadata: Any = details.invocation_metadata or ()
    header = next((value for key, value in metadata if key.lower() == "authorization"), "")
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogateescape")
    scheme, _, token = raw.partition(b" ")
    return token if scheme.lower() == b"bearer" and token.strip() else b""


def _refusing(handler: Handler, refusal: CorrectionsError) -> Handler:
    async def refuse(request: Any, context: Any) -> Any:
        raise refusal

    return with_behavior(handler, refuse, None)
