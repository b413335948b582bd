"""The command `avocet`; needs `avocet-client[cli]`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The entry point of the command."""
    # gRPC's core writes lines of its own to stderr where a connection breaks; ours says it in one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from avocet_client.cli.app import app
    except ModuleNotFoundError as error:
        sys.exit(f"avocet: the command line needs {error.name}; install it with: pip install 'avocet-client[cli]'")
    app(prog_name="avocet")
