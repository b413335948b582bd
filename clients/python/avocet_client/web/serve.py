"""The site on a port of loopback."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from avocet_client.connection import Connection
from avocet_client.web.bridge import Bridge
from avocet_client.web.guard import Guard
from avocet_client.web.serving import bind, serve
from avocet_client.web.site import Site, built_page

HOST = "127.0.0.1"
KEY_BYTES = 18
# A restarted server is found again within a second; nothing is repeated, since only the page knows what may be.
CHANNEL_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.service_config", "{}"),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


async def serve_web(connection: Connection, port: int, opened: Callable[[str], None], reviewer: str = "") -> None:
    """Serve the page until a signal comes. `opened` gets its address. Raises OSError if the port is taken."""
    with bind(HOST, port) as listening:
        bound = listening.getsockname()[1]
        key = secrets.token_urlsafe(KEY_BYTES)
        guard = Guard([f"{HOST}:{bound}", f"localhost:{bound}"])
        options = CHANNEL_OPTIONS + connection.options
        channel = Connection(connection.address, tls=connection.tls, options=options).aio_channel()
        try:
            bridge = Bridge(channel, connection.token)
            site = Site(bridge, guard, key, built_page(reviewer))
            await serve(site, listening, lambda: opened(f"http://{HOST}:{bound}/{key}/"), bridge.stop)
        finally:
            await channel.close()
