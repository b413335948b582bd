"""The command line."""

from __future__ import annotations

import enum
import io
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from avocet_grpc import __version__
from avocet_grpc.cli import database, keeper, maintenance, output, token
from avocet_grpc.cli import store as stores
from avocet_grpc.cli.paths import a_path, store_name
from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.lean import leave_out_rich
from avocet_grpc.settings import LIMITS, SQLITE, Limits, Settings
from avocet_grpc.wording import why

LIMITS_HELP = ", ".join(f"{name}={getattr(Limits(), name)}" for name in LIMITS)


class LogLevel(enum.StrEnum):
    """The levels of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


app = typer.Typer(
    name="avocet-grpc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The Avocet corrections service: reviews what models answered, and serves the corrections as training data.",
)
app.add_typer(token.app, name="token")
app.add_typer(keeper.app, name="keeper")
app.add_typer(stores.app, name="store")
app.command()(maintenance.backup)
app.command()(maintenance.verify)
app.command()(maintenance.rebuild)
app.command()(database.migrate)


def finite(days: float) -> float:
    """Return the number, for the `callback` of an option. Raises typer.BadParameter for NaN and infinity."""
    if not math.isfinite(days):
        raise typer.BadParameter("must be a number of days")
    return days


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"avocet-grpc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Reviews what models answered, and serves the corrections as training data over gRPC."""


@app.command()
def serve(
    context: typer.Context,
    listen: Annotated[
        str, typer.Option(envvar="AVOCET_LISTEN", metavar="HOST:PORT", help="Where to serve; port 0 picks a free one.")
    ] = "127.0.0.1:50051",
    data_dir: Annotated[
        Path,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_DATA_DIR",
            metavar="DIR",
            help="The directory of sft_candidates.jsonl and sft_approved.jsonl. Made if missing; one server at a time."
            " With --store postgres:// a server has none unless this is given.",
        ),
    ] = Path("data"),
    config_dir: Annotated[
        Path,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_CONFIG_DIR",
            metavar="DIR",
            help="The directory of label_tool.yaml. Made if missing.",
        ),
    ] = Path("config"),
    store: Annotated[
        str,
        typer.Option(
            parser=store_name,
            envvar="AVOCET_STORE",
            metavar="URL",
            help="'sqlite': the ledger lies in the data directory. postgres://USER@HOST[,HOST]/DATABASE: any number of"
            " servers share it. One of those with --data-dir keeps the shared files; see 'avocet-grpc keeper'.",
        ),
    ] = SQLITE,
    tokens_file: Annotated[
        Path | None,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_TOKENS_FILE",
            metavar="FILE",
            help="Who may call what (YAML). 'avocet-grpc token new' makes entries. Read again when it changes.",
        ),
    ] = None,
    ingestion_secret_file: Annotated[
        Path | None,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_INGESTION_SECRET_FILE",
            metavar="FILE",
            help="Holds the ingestion secret, in place of AVOCET_INGESTION_SECRET. Read again when it changes.",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_TLS_CERT",
            metavar="FILE",
            help="The server's certificate chain (PEM). Read again when it changes.",
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(parser=a_path, envvar="AVOCET_TLS_KEY", metavar="FILE", help="The certificate's key (PEM)."),
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            parser=a_path,
            envvar="AVOCET_TLS_CLIENT_CA",
            metavar="FILE",
            help="Ask every client for a certificate of one of these CAs (PEM).",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", envvar="AVOCET_INSECURE", help="Serve other machines without TLS or without tokens."
        ),
    ] = False,
    metrics_listen: Annotated[
        str,
        typer.Option(
            envvar="AVOCET_METRICS_LISTEN", metavar="HOST:PORT", help="Where Prometheus finds metrics; off if not set."
        ),
    ] = "",
    workers: Annotated[
        int,
        typer.Option(
            envvar="AVOCET_WORKERS", metavar="N", min=1, max=64, help="How many processes serve; they share the port."
        ),
    ] = 1,
    keep_history: Annotated[
        float,
        typer.Option(
            envvar="AVOCET_KEEP_HISTORY",
            metavar="DAYS",
            min=0,
            callback=finite,
            help="How long changes are kept for ListHistory and Watch; 0 keeps all.",
        ),
    ] = 365,
    keep_revisions: Annotated[
        float,
        typer.Option(
            envvar="AVOCET_KEEP_REVISIONS",
            metavar="DAYS",
            min=0,
            callback=finite,
            help="How long exports at older revisions work; 0 keeps all. Snapshots are kept until they are deleted.",
        ),
    ] = 30,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            envvar="AVOCET_SEARCH",
            help="Keep an index of texts, so that ListCandidates finds a text at once. It costs disk, and some CPU."
            " It does not work with a --store in PostgreSQL.",
        ),
    ] = False,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            envvar="AVOCET_LOG_LEVEL", help="Log lines of this level and above. Each call logs one line at info."
        ),
    ] = LogLevel.INFO,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            envvar="AVOCET_LIMIT",
            metavar="NAME=VALUE",
            help=f"Change a limit; may be repeated. Names and defaults: {LIMITS_HELP}.",
        ),
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    A flag wins over its environment variable. AVOCET_INGESTION_SECRET is the token that Ingest and StreamIngest
    require (metadata 'authorization: Bearer SECRET'). Without it, without --ingestion-secret-file and without a tokens
    file both answer UNAVAILABLE. No other method requires a token unless --tokens-file is given. To serve other
    machines, the server needs --tls-cert, --tls-key and --tokens-file, or --insecure.

    When the server serves, it writes the line 'listening on HOST:PORT' to stderr. The log goes there too: one JSON
    object a line, or readable text if stderr is a terminal. Then try:

        grpcurl -plaintext 127.0.0.1:50051 avocet.corrections.v1.CorrectionsService/Stats

    SIGTERM and SIGINT stop it once the calls under way have ended; SIGHUP reads tokens and certificates again.

    Exit codes: 0 after a clean stop; 1 if it cannot start, also for an address or a file that cannot be used; 2 for a
    wrong flag; 3 if another server has the data directory; 4 if the shared files could not be brought up to date at the
    stop; 5 if the storage failed.
    """
    settings = Settings(
        listen=listen,
        store=store,
        keeps_files=store == SQLITE or _is_given(context, "data_dir"),
        workers=workers,
        search=search,
        keep_history_days=keep_history,
        keep_revisions_days=keep_revisions,
        data_dir=data_dir,
        config_dir=config_dir,
        ingestion_secret=os.environ.get("AVOCET_INGESTION_SECRET", ""),
        ingestion_secret_file=ingestion_secret_file,
        tokens_file=tokens_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        insecure=insecure,
        metrics_listen=metrics_listen,
        log_level=log_level,
        limits=_limits(limit or []),
    )
    leave_out_rich()
    from avocet_grpc.processes.supervisor import run

    raise typer.Exit(run(settings))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _limits(given: list[str]) -> Limits:
    """Return the defaults with what `--limit` changes."""
    changed: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in LIMITS:
            raise typer.BadParameter(f"'{text}': a limit is one of {', '.join(LIMITS)}", param_hint="--limit")
        try:
            number = float(value) if name in ("call_seconds", "stream_seconds") else int(value)
        except ValueError:
            number = 0
        changed[name] = number
        # gRPC takes milliseconds in 31 bits.
        if not 0 < number < 2**31 / (1000 if name.endswith("_seconds") else 1):
            raise typer.BadParameter(f"'{text}': must be {name}=NUMBER, larger than 0", param_hint="--limit")
    return replace(Limits(), **changed)


def main() -> None:
    """The entry point of the command `avocet-grpc`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # No command fails for a character that the encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as end:
        raise SystemExit(
            output.finished(end.code if isinstance(end.code, int) else int(end.code is not None))
        ) from None
    except OSError as error:
        # Each command reports its own errors; what is left is its output, its help or the version.
        output.tell(f"avocet-grpc: the output could not be written: {why(error)}")
        sys.exit(output.finished(ExitCode.FAILED))
