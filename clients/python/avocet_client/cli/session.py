"""What every command shares: the client, how a result is written, and the exit code that an error gives."""

from __future__ import annotations

import contextlib
import getpass
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import typer

from avocet_client.cli.lines import told
from avocet_client.cli.options import COMMON, EXPORT, FILTER, Options, export_options_of, filter_of
from avocet_client.cli.screen import Screen
from avocet_client.cli.settings import connection_of, settings_of
from avocet_client.client import CorrectionsClient
from avocet_client.connection import Connection
from avocet_client.errors import (
    Conflict,
    CorrectionsError,
    ExportCorrupted,
    InvalidField,
    NotFound,
    RequestTooLarge,
    TransportError,
    TryLater,
    Unauthorized,
)

READS = frozenset({
    "ListRuns", "Queue", "GetCandidate", "ListCandidates", "ListHistory", "Watch", "StreamExport", "Stats", "GetConfig",
    "GetVersion", "GetSnapshot", "ListSnapshots",
})  # fmt: skip
"""The methods that change nothing. Any other may have changed the store once it is called."""


class Exit(IntEnum):
    """How the command ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAUTHORIZED = 5
    UNAVAILABLE = 6
    CORRUPTED = 7
    UNREPORTED = 8
    NOT_VALID = 9
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODES = """\
Exit codes: 0 done; 1 refused by the service; 2 wrong flags, settings or files, and nothing was changed; 3 no such
candidate, run or snapshot; 4 the candidate's state is not the expected one; 5 the token is missing or refused; 6 the
service cannot be reached, or cannot do it now; 7 an export came incomplete; 8 the service was asked to change
something, but then a file could not be read or the result not be written; 9 the format refuses a row (export
--strict); 130 interrupted; 141 the reader of the output has gone."""
_CODES: tuple[tuple[type[CorrectionsError], Exit], ...] = (
    (NotFound, Exit.NOT_FOUND),
    (Conflict, Exit.CONFLICT),
    (Unauthorized, Exit.UNAUTHORIZED),
    (TryLater, Exit.UNAVAILABLE),
    (TransportError, Exit.UNAVAILABLE),
    (ExportCorrupted, Exit.CORRUPTED),
)
_UNSENT = (InvalidField, RequestTooLarge)
"""Errors of flags, too: the client raises them, without a reason, before it sends anything."""
_MADE_OF_FLAGS: Mapping[str, Options] = {"filter": FILTER, "options": FILTER | EXPORT}


class NotingClient(CorrectionsClient):
    """A client that knows whether the service was asked to change anything."""

    asked_for_change = False

    def _method(self, name: str) -> Any:
        self.asked_for_change |= name not in READS
        return super()._method(name)


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    client: CorrectionsClient
    connection: Connection
    as_json: bool
    out: Screen
    err: Screen

    def reach(self) -> None:
        """Raise TransportError if the service is not there, before a stream that would wait for it."""
        self.client.get_config()

    def show(self, data: Any, people: Callable[[], Any]) -> None:
        """Print `data` as JSON if `--json` asks for it, else what `people` returns for people."""
        if self.as_json:
            print(json.dumps(data, indent=2 if self.out.is_terminal else None))
        else:
            shown = people()
            # What a narrow screen would cut is an id, which must be whole.
            self.out.print(shown, soft_wrap=isinstance(shown, str), crop=False)

    def reviewer(self, stated: str | None) -> str:
        """Return who decides: who is stated, else the login name; nobody if the service knows it by the token."""
        if stated:
            return stated
        if not (name := login_name()):
            raise ValueError("this user has no login name; --reviewer says who decides")
        if self.connection.token:
            try:
                self.client.queue(per_page=1, claims="mine", reviewer=name)
            except InvalidField:
                return ""
        return name


def login_name() -> str:
    """Return the login name; empty if this user has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def with_session(command: Callable[..., int | None]) -> Callable[..., None]:
    """Return `command` as typer takes it: flags stand for its `Session`, and for its `filter` or `options`."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    made_of = [flags for name, flags in _MADE_OF_FLAGS.items() if any(each.name == name for each in own)]
    options = COMMON | (made_of[0] if made_of else {})
    parameters = [
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own if each.name not in _MADE_OF_FLAGS),
        *(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ),
    ]

    def run(**arguments: Any) -> None:
        raise typer.Exit(_carry_out(command, arguments))

    dressed: Any = run
    dressed.__name__, dressed.__doc__ = command.__name__, _flowing(command.__doc__ or "")
    dressed.__signature__ = inspect.Signature(parameters)
    dressed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _flowing(doc: str) -> str:
    """Return a docstring whose paragraphs are one line each, so that help fills any width. Lists keep their lines."""
    paragraphs = inspect.cleandoc(doc).split("\n\n")
    return "\n\n".join(each if each.startswith("- ") else each.replace("\n", " ") for each in paragraphs)


def complain(err: Screen, text: str, style: str = "red") -> None:
    """Print a line about what went wrong; never fail for a place that takes no output."""
    with contextlib.suppress(OSError):
        err.print(text, style=style, soft_wrap=True)


def _carry_out(command: Callable[..., int | None], arguments: dict[str, Any]) -> int:
    flags = {name: arguments.pop(name) for name in COMMON}
    as_json, err = flags.pop("as_json"), Screen(stderr=True)
    client: NotingClient | None = None
    try:
        settings = settings_of(flags)
        if EXPORT.keys() <= arguments.keys():
            arguments["options"] = export_options_of(arguments)
        elif FILTER.keys() <= arguments.keys():
            arguments["filter"] = filter_of(arguments)
        if "reviewer" in arguments:
            arguments["reviewer"] = arguments["reviewer"] or settings.get("reviewer")
        connection = connection_of(settings)
        client = NotingClient(connection.address, token=connection.token, tls=connection.tls)
        with client:
            code = command(Session(client, connection, as_json, Screen(), err), **arguments) or Exit.DONE
        sys.stdout.flush()
        return code
    except CorrectionsError as error:
        _explain(err, error, as_json)
        if isinstance(error, _UNSENT) and not error.reason and (client is None or not client.asked_for_change):
            return Exit.USAGE
        return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.REFUSED)
    except BrokenPipeError:
        let_go_of_output()
        return Exit.BROKEN_PIPE
    except (OSError, ValueError, RecursionError) as error:
        complain(err, f"avocet: {told(error)}")
        let_go_of_output()
        if client is None or not client.asked_for_change:
            return Exit.USAGE
        complain(err, "The service was asked for a change before; look whether it was stored.")
        return Exit.UNREPORTED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def let_go_of_output() -> None:
    """Send the rest of standard output nowhere: the interpreter flushes it once more at its end, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(err: Screen, error: CorrectionsError, as_json: bool) -> None:
    fields = {violation.field: violation.description for violation in error.field_violations}
    if as_json:
        shown = {"code": error.code.name, "reason": error.reason, "message": error.message}
        shown |= {"request_id": error.request_id} if error.request_id else {}
        print(json.dumps({"error": shown | {"metadata": error.metadata, "fields": fields}}), file=sys.stderr)
        return
    complain(err, f"avocet: {error}")
    for name, value in (fields | error.metadata).items():
        if value not in error.message:
            complain(err, f"  {name}: {value}", style="yellow")
    if isinstance(error, TransportError):
        complain(err, "Is the service there? --address, AVOCET_ADDRESS or the settings file say where.", style="")
    if error.request_id and isinstance(error, TransportError | TryLater):
        complain(err, f"To repeat it without storing it twice, add: --request-id {error.request_id}", style="")
