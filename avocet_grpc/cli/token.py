"""The command `avocet-grpc token`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avocet_grpc.cli import output
from avocet_grpc.cli.paths import a_path
from avocet_grpc.edge.auth.policy import Role
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.wording import counted, why

if TYPE_CHECKING:
    # Each command loads what it needs: 'serve' shares the process, and keeps what was loaded.
    from avocet_grpc.edge.auth.tokens import Token

app = typer.Typer(no_args_is_help=True, help="Manage the tokens of the service's callers.")


def _to_come(day: datetime | None) -> datetime | None:
    """Refuse a day that has begun: the token would be refused from birth."""
    if day is not None and day.date() <= datetime.now(UTC).date():
        raise typer.BadParameter(f"the token would be refused at once: {day:%Y-%m-%d} has begun (UTC)")
    return day


Name = Annotated[str, typer.Argument(help="The name of the token; decisions are recorded under it.")]
TokensFile = Annotated[
    Path,
    typer.Option(
        parser=a_path, envvar="AVOCET_TOKENS_FILE", metavar="FILE", show_default=False, help="The tokens file."
    ),
]
Expires = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        metavar="YYYY-MM-DD",
        callback=_to_come,
        help="The day (UTC) from which it is refused; one to come.",
    ),
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
            parser=a_path,
            envvar="AVOCET_TOKENS_FILE",
            metavar="FILE",
            help="Append the entry to this file; made if missing.",
        ),
    ] = None,
) -> None:
    """Make a token and its entry for the tokens file.

    The token is printed to stdout once: the file holds only its SHA-256. If it cannot be printed, the file stays as it
    was. A name may have several tokens. A running server reads the file again.

        avocet-grpc token new alice --role reviewer --tokens-file tokens.yaml

    Exit codes: 0 when it is done; 1 if it failed; 2 for a wrong flag.
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.tokens import entry_text, new_token

    until = expires.date() if expires else None
    with _explained():
        output.refuse_closed_stdout()
        if tokens_file is not None:
            token_file.add(tokens_file, name, role, until, output.hand_over)
            return
        token = new_token()
        entry = entry_text(name, token, role, until)
        output.hand_over(token)
    output.tell(f"Put this into the tokens file:\n{entry}".rstrip())


@app.command("list")
def list_tokens(tokens_file: TokensFile) -> None:
    """List the tokens of the file: name, id, roles, and when each expires.

    The id is the beginning of the token's SHA-256; 'revoke' takes it.

    Exit codes: 0 when it is done; 1 if it failed; 2 for a wrong flag.
    """
    from avocet_grpc.edge.auth.token_file import id_of
    from avocet_grpc.edge.auth.tokens import read_tokens

    with _explained("the tokens could not be listed"):
        tokens = read_tokens(tokens_file)
        now = datetime.now(UTC)
        for token in tokens:
            end = "" if token.expires is None else f"  until {token.expires:%Y-%m-%d %H:%M} UTC"
            gone = "  EXPIRED" if token.expires is not None and token.expires <= now else ""
            output.hand_over(f"{token.name}  {id_of(token)}  {_roles(token)}{end}{gone}")
    if not tokens:
        output.tell("there are no tokens")


@app.command()
def revoke(
    name: Name,
    tokens_file: TokensFile,
    id: Annotated[
        str | None, typer.Option("--id", help="Only this token of the name: the beginning of its id.")
    ] = None,
) -> None:
    """Remove the tokens of a name, or one of them, from the file.

    A running server refuses them within a second, or at once after SIGHUP.

    Exit codes: 0 when it is done; 1 if it failed; 2 for a wrong flag.
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.token_file import id_of

    with _explained():
        gone = token_file.revoke(tokens_file, name, id)
    lines = [f"revoked {token.name}  {id_of(token)}  {_roles(token)}" for token in gone]
    output.say(*lines, done=f"revoked {counted(len(gone), 'token')} of {name}")


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
    after that. If it cannot be printed, the file stays as it was.

        avocet-grpc token rotate kiwi --grace-hours 48 --tokens-file tokens.yaml

    Exit codes: 0 when it is done; 1 if it failed; 2 for a wrong flag.
    """
    from avocet_grpc.edge.auth import token_file
    from avocet_grpc.edge.auth.token_file import id_of

    with _explained():
        output.refuse_closed_stdout()
        ends = (datetime.now(UTC) + timedelta(hours=grace_hours)).replace(microsecond=0)
        until = expires.date() if expires else None
        ended = token_file.rotate(tokens_file, name, ends, until, output.hand_over)
    for old in ended:
        output.tell(f"{old.name}  {id_of(old)} is refused from {ends:%Y-%m-%d %H:%M:%S} UTC on")


@contextmanager
def _explained(unprinted: str = "the token could not be printed, so nothing was changed") -> Iterator[None]:
    """End the command with one line if the file cannot be used, or with `unprinted` if nobody would get the output."""
    from avocet_grpc.edge.auth.token_file import NoSuchToken
    from avocet_grpc.foreign_files import Unreadable

    try:
        yield
    except output.Unprintable as error:
        output.tell(f"avocet-grpc: {unprinted}: {error}")
        raise typer.Exit(ExitCode.FAILED) from None
    except (NoSuchToken, Unreadable, ValueError, OSError) as error:
        output.tell(f"avocet-grpc: {why(error)}")
        raise typer.Exit(ExitCode.FAILED) from None


def _roles(token: Token) -> str:
    from avocet_grpc.edge.auth.token_file import stated_roles

    return ",".join(stated_roles(token))
