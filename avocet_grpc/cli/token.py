"""The command `avocet-grpc token`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avocet_grpc.edge.auth.policy import Role
from avocet_grpc.exit_codes import ExitCode

if TYPE_CHECKING:
    # Each command loads what it needs: 'serve' shares the process, and keeps what was loaded.
    from avocet_grpc.edge.auth.tokens import Token

app = typer.Typer(no_args_is_help=True, help="Manage the tokens of the service's callers.")

Name = Annotated[str, typer.Argument(help="The name of the token; decisions are recorded under it.")]
TokensFile = Annotated[
    Path, typer.Option(envvar="AVOCET_TOKENS_FILE", metavar="FILE", show_default=False, help="The tokens file.")
]
Expires = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The day (UTC) from which it is refused."),
]


@app.callback()
def root() -> None:
    """Manage the tokens of the service's callers."""


@app.command()
def new(
    name: Name,
    role: Annotated[
        list[Role],
        typer.Option(help="A role of the token; may be repeated. A reviewer is a reader too, an admin is everything."),
    ],
    expires: Expires = None,
    tokens_file: Annotated[
        Path | None,
        typer.Option(
            envvar="AVOCET_TOKENS_FILE", metavar="FILE", help="Append the entry to this file; made if missing."
        ),
    ] = None,
) -> None:
    """Make a token and its entry for the tokens file.

    The token is printed to stdout once: the file holds only its SHA-256. A name may have several tokens. A running
    server reads the file again.

        avocet-grpc token new alice --role reviewer --tokens-file tokens.yaml
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.tokens import entry_text, new_token

    until = expires.date() if expires else None
    with _explained():
        if tokens_file is not None:
            print(token_file.add(tokens_file, name, role, until))
            return
        token = new_token()
        entry = entry_text(name, token, role, until)
    print(token)
    print(f"Put this into the tokens file:\n{entry}", file=sys.stderr, end="")


@app.command("list")
def list_tokens(tokens_file: TokensFile) -> None:
    """List the tokens of the file: name, id, roles, and when each expires.

    The id is the beginning of the token's SHA-256; 'revoke' takes it.
    """
    from avocet_grpc.edge.auth.token_file import id_of
    from avocet_grpc.edge.auth.tokens import read_tokens

    with _explained():
        tokens = read_tokens(tokens_file)
    now = datetime.now(UTC)
    for token in tokens:
        end = "" if token.expires is None else f"  until {token.expires:%Y-%m-%d %H:%M} UTC"
        gone = "  EXPIRED" if token.expires is not None and token.expires <= now else ""
        print(f"{token.name}  {id_of(token)}  {_roles(token)}{end}{gone}")
    if not tokens:
        print("there are no tokens", file=sys.stderr)


@app.command()
def revoke(
    name: Name,
    tokens_file: TokensFile,
    id: Annotated[str, typer.Option("--id", help="Only this token of the name: the beginning of its id.")] = "",
) -> None:
    """Remove the tokens of a name, or one of them, from the file.

    A running server refuses them within a second, or at once after SIGHUP.
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.token_file import id_of

    with _explained():
        for token in token_file.revoke(tokens_file, name, id):
            print(f"revoked {token.name}  {id_of(token)}  {_roles(token)}")


@app.command()
def rotate(
    name: Name,
    tokens_file: TokensFile,
    grace_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the name's other tokens stay valid.")
    ] = 24,
    expires: Expires = None,
) -> None:
    """Make a token with the roles of a name's newest one, and end its other tokens after the grace time.

    The new token is printed to stdout once. Give it to its user within the grace time; the old tokens are refused
    after that.

        avocet-grpc token rotate kiwi --grace-hours 48 --tokens-file tokens.yaml
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.token_file import id_of

    ends = (datetime.now(UTC) + timedelta(hours=grace_hours)).replace(microsecond=0)
    with _explained():
        token, ended = token_file.rotate(tokens_file, name, ends, expires.date() if expires else None)
    print(token)
    for old in ended:
        print(f"{old.name}  {id_of(old)} is refused from {ends:%Y-%m-%d %H:%M:%S} UTC on", file=sys.stderr)


@contextmanager
def _explained() -> Iterator[None]:
    """End the command with one line if the file cannot be used."""
    from avocet_grpc.edge.auth.token_file import NoSuchToken
    from avocet_grpc.foreign_files import Unreadable

    try:
        yield
    except (NoSuchToken, Unreadable, ValueError, OSError) as error:
        print(f"avocet-grpc: {error}", file=sys.stderr)
        raise typer.Exit(ExitCode.FAILED) from None


def _roles(token: Token) -> str:
    from avocet_grpc.edge.auth.token_file import stated_roles

    return ",".join(stated_roles(token))
