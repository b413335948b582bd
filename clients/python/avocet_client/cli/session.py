"""What every command shares: the client, how a result is written, and the exit code that an error gives."""

from __future__ import annotations

import getpass
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer
from rich.console import Console

from avocet_client.cli.options import COMMON, EXPORT, FILTER, Options, export_options_of, filter_of
from avocet_client.cli.settings import client_of, connection_of, settings_of
from avocet_client.client import CorrectionsClient
from avocet_client.connection import Connection
from avocet_client.errors import (
    Conflict,
    CorrectionsError,
    ExportCorrupted,
    NotFound,
    TransportError,
    TryLater,
    Unauthorized,
)

REFUSED, USAGE, NOT_FOUND, CONFLICT, UNAUTHORIZED, UNAVAILABLE, CORRUPTED = 1, 2, 3, 4, 5, 6, 7
INTERRUPTED, BROKEN_PIPE = 130, 141
EXIT_CODES = """\
Exit codes: 0 done; 1 refused by the service; 2 wrong flags, settings or files; 3 no such candidate or run; 4 the
candidate is not as supposed; 5 the token is missing or refused; 6 the service cannot be reached, or cannot do it now; 7
an export came incomplete; 130 interrupted; 141 whoever reads the output has gone."""
_CODES: tuple[tuple[type[CorrectionsError], int], ...] = (
    (NotFound, NOT_FOUND),
    (Conflict, CONFLICT),
    (Unauthorized, UNAUTHORIZED),
    (TryLater, UNAVAILABLE),
    (TransportError, UNAVAILABLE),
    (ExportCorrupted, CORRUPTED),
)
_MADE_OF_FLAGS: Mapping[str, Options] = {"filter": FILTER, "options": FILTER | EXPORT}


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    client: CorrectionsClient
    connection: Connection
    as_json: bool
    out: Console
    err: Console

    def reach(self) -> None:
        """Raise TransportError where the service is not there, before a stream that would wait for it."""
        self.client.get_config()

    def show(self, data: Any, people: Callable[[], Any]) -> None:
        """Print `data` as JSON where that was asked for, else what `people` gives for people."""
        if self.as_json:
            print(json.dumps(data, indent=2 if self.out.is_terminal else None))
        else:
            self.out.print(people())


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
    dressed.__name__, dressed.__doc__ = command.__name__, command.__doc__
    dressed.__signature__ = inspect.Signature(parameters)
    dressed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _carry_out(command: Callable[..., int | None], arguments: dict[str, Any]) -> int:
    flags = {name: arguments.pop(name) for name in COMMON}
    as_json, err = flags.pop("as_json"), Console(stderr=True)
    try:
        settings = settings_of(flags)
        if EXPORT.keys() <= arguments.keys():
            arguments["options"] = export_options_of(arguments)
        elif FILTER.keys() <= arguments.keys():
            arguments["filter"] = filter_of(arguments)
        if "reviewer" in arguments:
            arguments["reviewer"] = arguments["reviewer"] or settings.get("reviewer") or getpass.getuser()
        connection = connection_of(settings)
        with client_of(connection) as client:
            code = command(Session(client, connection, as_json, Console(), err), **arguments) or 0
        sys.stdout.flush()
        return code
    except CorrectionsError as error:
        _complain(err, error, as_json)
        return next((code for kind, code in _CODES if isinstance(error, kind)), REFUSED)
    except BrokenPipeError:
        # The interpreter flushes standard output once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (OSError, ValueError) as error:
        err.print(f"avocet: {error}", style="red", markup=False, highlight=False)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(err: Console, error: CorrectionsError, as_json: bool) -> None:
    if as_json:
        fields = {violation.field: violation.description for violation in error.field_violations}
        shown = {"code": error.code.name, "reason": error.reason, "message": error.message}
        print(json.dumps({"error": shown | {"metadata": error.metadata, "fields": fields}}), file=sys.stderr)
        return
    err.print(f"avocet: {error}", style="red", markup=False, highlight=False)
    if isinstance(error, TransportError):
        err.print("Is the service there? --address, AVOCET_ADDRESS or the settings file say where.", markup=False)
    if error.request_id and isinstance(error, TransportError | TryLater):
        err.print(f"To repeat it without storing it twice, add: --request-id {error.request_id}", markup=False)
