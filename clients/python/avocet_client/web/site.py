"""The review page and the bridge below one secret path, on one port of loopback."""

from __future__ import annotations

import hmac
import html
import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

from avocet_client.web.bridge import Bridge, Receive, Refused, Scope, Send
from avocet_client.web.guard import Guard

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }
)


_UNNAMED = b'<meta name="reviewer" content="" />'


def built_page(reviewer: str = "") -> Mapping[str, bytes]:
    """Return the files of the page by their path below its address; "" is the page itself.

    The page claims and decides as `reviewer`, unless a token names somebody or the reviewer types another name.
    """
    found = dict(_below(files("avocet_client.web") / "page", ""))
    if "index.html" in found:
        named = f'<meta name="reviewer" content="{html.escape(reviewer)}" />'.encode()
        found[""] = found["index.html"] = found["index.html"].replace(_UNNAMED, named)
    return MappingProxyType(found)


class Site:
    """The ASGI application. A caller who does not know `key` gets 404, and so does another user of the machine."""

    def __init__(self, bridge: Bridge, guard: Guard, key: str, page: Mapping[str, bytes]) -> None:
        self._bridge = bridge
        self._guard = guard
        self._key = key
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http"
        headers = Headers(scope=dict(scope))
        try:
            if why := self._guard.refusal(headers):
                raise Refused(403, f"Refused: {why}.")
            path = self._below_key(scope["path"])
            if scope["method"] == "POST":
                await self._bridge.forward(f"/{path}", headers, receive, send)
                return
            answer = self._file(scope["method"], path)
        except Refused as refused:
            answer = PlainTextResponse(f"{refused}\n", refused.status, headers=dict(HEADERS))
        await answer(dict(scope), receive, send)  # type: ignore[arg-type]

    def _below_key(self, path: str) -> str:
        key, slash, rest = path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(key.encode(), self._key.encode()):
            raise Refused(404, "There is nothing here. Open the address that avocet web printed.")
        return rest

    def _file(self, method: str, path: str) -> Response:
        if method not in ("GET", "HEAD"):
            raise Refused(405, "Only GET and POST are answered.")
        if path not in self._page:
            raise Refused(404, "There is no such file.")
        kind = mimetypes.guess_type(path or "index.html")[0] or "application/octet-stream"
        return Response(self._page[path], media_type=kind, headers=dict(HEADERS))


def _below(directory: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for each in directory.iterdir() if directory.is_dir() else ():
        name = prefix + each.name
        found += _below(each, f"{name}/") if each.is_dir() else [(name, each.read_bytes())]
    return found
