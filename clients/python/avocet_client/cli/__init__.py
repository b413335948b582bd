"""The command `avocet`. It needs the extra `cli` of `avocet-client`."""

from __future__ import annotations

import os
import sys


def lacks(error: ModuleNotFoundError, extra: str) -> str:
    """Return the sentence for a module that is not installed, and which extra brings it."""
    return f"avocet: {error.name} is missing; install the extra that brings it: pip install 'clients/python[{extra}]'"


def main() -> None:
    """The entry point of the command."""
    # gRPC's core writes lines of its own to stderr if a connection breaks; the command says it in one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from avocet_client.cli.app import app
        from avocet_client.cli.screen import prepare_streams
    except ModuleNotFoundError as error:
        sys.exit(lacks(error, "cli"))
    prepare_streams()
    app(prog_name="avocet")
