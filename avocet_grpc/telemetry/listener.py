"""The HTTP listener for Prometheus and for probes: `/metrics` and `/healthz`.

Any other path is 404, and a method other than GET and HEAD is 405.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

METRICS, HEALTH = "/metrics", "/healthz"
QUIET_SECONDS = 10
"""A connection that sends nothing for this long is closed."""

Headers = list[tuple[str, str]]
Respond = Callable[[str, Headers], Any]


def serve(
    host: str, port: int, registry: CollectorRegistry, serving: Callable[[], bool]
) -> tuple[int, Callable[[], None]]:
    """Listen, with threads of its own. Return the port, and what ends it. Raises OSError.

    `/healthz` answers 200 while `serving()` is true, else 503. Port 0 picks a free one.
    """
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    kind = type("_Server", (ThreadingWSGIServer,), {"address_family": family})
    server: WSGIServer = make_server(str(address[0]), port, _app(registry, serving), kind, _Handler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, end


def _app(registry: CollectorRegistry, serving: Callable[[], bool]) -> Any:
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case path if path not in (METRICS, HEALTH):
                return _text(respond, "404 Not Found", f"Here are {METRICS} and {HEALTH}.")
            case _ if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                return _text(respond, "405 Method Not Allowed", "Use GET.", ("Allow", "GET, HEAD"))
            case path if path == METRICS:
                answer: Iterable[bytes] = metrics(environ | {"REQUEST_METHOD": "GET"}, respond)
                return answer
        return _text(respond, "200 OK", "ok") if serving() else _text(respond, "503 Service Unavailable", "not serving")

    return app


def _text(respond: Respond, status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    respond(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [text.encode() + b"\n"]


class _Handler(WSGIRequestHandler):
    timeout = QUIET_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a scrape is not an event."""
