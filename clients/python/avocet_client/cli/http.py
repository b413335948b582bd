"""The commands that serve HTTP; they need `avocet-client[web]`."""

from __future__ import annotations

import asyncio
import sys
import threading
import webbrowser
from typing import Annotated

import typer

from avocet_client.cli import lacks
from avocet_client.cli.options import Reviewer
from avocet_client.cli.session import Exit, Session, complain, login_name

DEFAULT_LISTEN = "127.0.0.1:8080"


def legacy(
    session: Session,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve; port 0 picks one.")
    ] = DEFAULT_LISTEN,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="An origin whose pages may call (CORS), such as https://label.example. Repeatable."
        ),
    ] = None,
) -> int:
    """Serve the legacy HTTP interface, /api/corrections and /api/sft, over the service.

    Everybody who reaches the address calls with the token of this command, unless a request has its own.
    """
    try:
        from avocet_client.legacy.serve import serve_legacy
    except ModuleNotFoundError as error:
        return _lacks(session, error)
    host, port = _address(listen)
    asyncio.run(serve_legacy(session.connection, host, port, allow_origin or (), _say))
    return 0


def web(
    session: Session,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Where to serve on this machine; 0 picks one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Print the address, and open no browser.")] = False,
    reviewer: Reviewer = None,
) -> int:
    """Review in the browser: serve the page on this machine alone, and open it.

    The address has a random key; everybody who knows it reviews with the token of this command.
    """
    try:
        from avocet_client.web.serve import serve_web
    except ModuleNotFoundError as error:
        return _lacks(session, error)

    def opened(address: str) -> None:
        print(address, flush=True)
        if not no_open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    asyncio.run(serve_web(session.connection, port, opened, reviewer or login_name()))
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"--listen must be HOST:PORT; it is {listen!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _lacks(session: Session, error: ModuleNotFoundError) -> int:
    complain(session.err, lacks(error, "web"))
    return Exit.USAGE
