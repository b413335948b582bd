"""The command `avocet-grpc token`."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from avocet_grpc.edge.auth.policy import Role
from avocet_grpc.edge.auth.tokens import entry_text, new_token, parse_tokens, read_tokens
from avocet_grpc.foreign_files import Unreadable, read_text

app = typer.Typer(no_args_is_help=True, help="Make the tokens that callers of the service bear.")


@app.callback()
def root() -> None:
    """Make the tokens that callers of the service bear."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose token it is; decisions are recorded under this name.")],
    role: Annotated[
        list[Role],
        typer.Option(help="What it opens; may be repeated. A reviewer is a reader too, an admin everything."),
    ],
    expires: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The day (UTC) from which on it is refused."),
    ] = None,
    tokens_file: Annotated[
        Path | None,
        typer.Option(
            envvar="AVOCET_TOKENS_FILE", metavar="FILE", help="Append the entry to this file; made if missing."
        ),
    ] = None,
) -> None:
    """Make a token and its entry for the tokens file.

    The token goes to stdout, this once: the file holds its SHA-256 alone. A name may have several tokens. To rotate
    one, add another, let the caller take it into use, then delete the old entry: a running server reads the file again.

        avocet-grpc token new alice --role reviewer --tokens-file tokens.yaml
    """
    token = new_token()
    try:
        entry = entry_text(name, token, role, expires.date() if expires else None)
        if tokens_file is not None:
            _append(tokens_file, entry)
    except (Unreadable, ValueError, OSError) as error:
        print(f"avocet-grpc: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(token)
    if tokens_file is None:
        print(f"Put this into the tokens file:\n{entry}", file=sys.stderr, end="")


def _append(path: Path, entry: str) -> None:
    """Add the entry with one write, so that a server that reads the file meanwhile sees all of it or nothing."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        read_tokens(path)
        before = read_text(path)
        text = entry if not before or before.endswith("\n") else "\n" + entry
        parse_tokens(before + text, path)
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
