"""The front on an address."""

from __future__ import annotations

from collections.abc import Callable, Collection

from avocet_client.connection import Connection
from avocet_client.legacy.front import Front
from avocet_client.web.guard import Guard
from avocet_client.web.serving import bind, serve


async def serve_legacy(
    connection: Connection, host: str, port: int, origins: Collection[str], say: Callable[[str], None]
) -> None:
    """Serve the legacy interface until a signal comes. `say` gets the line with the address. Raises OSError."""
    with bind(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        guard = Guard(["localhost", shown], literals=True, origins=origins)
        channel = connection.aio_channel()
        try:
            app = Front(channel, connection.token, guard).app()
            await serve(app, listening, lambda: say(f"listening on {shown}:{listening.getsockname()[1]}"))
        finally:
            await channel.close()
