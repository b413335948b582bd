"""Lets pages of the allowed origins call from a browser (CORS). Without such origins it adds nothing to an answer.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from avocet_client.web.guard import Guard

_ASKED = "access-control-request-method"
_ASKED_NETWORK = "access-control-request-private-network"
# No cookie is ever read, so no answer allows credentials: a page sends its token in a header.
_PREFLIGHT = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}


class Cors:
    """The ASGI application `app`, for pages of the guard's origins too."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not self._guard.origins:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        is_allowed = origin in self._guard.origins and self._guard.refusal(headers) is None

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("origin")
                if is_allowed:
                    answer["access-control-allow-origin"] = origin
                    answer["access-control-expose-headers"] = "content-disposition"
            await send(message)

        if is_allowed and scope["method"] == "OPTIONS" and _ASKED in headers:
            network = {"access-control-allow-private-network": "true"} if _ASKED_NETWORK in headers else {}
            await Response(status_code=204, headers=_PREFLIGHT | network)(scope, receive, marked)
        else:
            await self._app(scope, receive, marked)
