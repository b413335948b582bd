"""The command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from avocet_grpc.settings import Settings

app = typer.Typer(
    name="avocet-grpc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The Avocet corrections service: reviews what models answered, and serves the corrections as training data.",
)


@app.callback()
def root() -> None:
    """Reviews what models answered, and serves the corrections as training data over gRPC."""


@app.command()
def serve(
    listen: Annotated[
        str, typer.Option(envvar="AVOCET_LISTEN", metavar="HOST:PORT", help="Where to serve; port 0 picks a free one.")
    ] = "127.0.0.1:50051",
    data_dir: Annotated[
        Path,
        typer.Option(
            envvar="AVOCET_DATA_DIR",
            metavar="DIR",
            help="Where sft_candidates.jsonl and sft_approved.jsonl lie. Made if missing; one server at a time.",
        ),
    ] = Path("data"),
    config_dir: Annotated[
        Path,
        typer.Option(envvar="AVOCET_CONFIG_DIR", metavar="DIR", help="Where label_tool.yaml lies. Made if missing."),
    ] = Path("config"),
) -> None:
    """Serve until SIGTERM or SIGINT.

    A flag wins over its environment variable. AVOCET_INGESTION_SECRET is the token that Ingest and StreamIngest ask
    for (metadata 'authorization: Bearer SECRET'); without it both answer UNAVAILABLE. No other method asks for a
    token, so serve beyond this machine only behind something that does.

    The line 'listening on HOST:PORT' goes to stderr when the server serves. Try then:

        grpcurl -plaintext 127.0.0.1:50051 avocet.corrections.v1.CorrectionsService/Stats

    Exit codes: 0 after a clean stop; 1 if it cannot start; 3 if another server has the data directory; 4 if the shared
    files could not be brought up to date at the stop; 5 if the storage failed.
    """
    # gRPC's core writes its own lines to stderr where a port is taken; ours says it in one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from avocet_grpc.server import run

    settings = Settings(
        listen=listen,
        data_dir=data_dir,
        config_dir=config_dir,
        ingestion_secret=os.environ.get("AVOCET_INGESTION_SECRET", ""),
    )
    raise typer.Exit(run(settings))


def main() -> None:
    """The entry point of the command `avocet-grpc`."""
    app()
