"""The command `avocet`. It needs the extra `cli` of `avocet-client`.

Reading order
    `app`                    the commands, one function each; `export`, `ingest`, `http` have the longer ones
    `session`, `settings`    the client, how a result is written, exit codes; where flags and defaults come from
    `review`                 `avocet review`, from key to decision, with its editor and drafts
    `batch`, `lookup`, `decided`    decisions from a file, and whether they were made before
    `lines`                  objects of a file's lines, and what is wrong with one
    `screen`, `tables`, `candidate_view`, `plain`    results for people, and as JSON
    `openai_check`           which rows of an export OpenAI's format refuses

Rules
    - Every text for the screen passes through `screen`, which makes control characters visible.
    - What a reviewer has typed is kept in a file until the service has stored it.
    - Exit code 2 means that nothing was changed.
"""

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
        from avocet_client.cli.session import Exit, let_go_of_output
    except ModuleNotFoundError as error:
        sys.exit(lacks(error, "cli"))
    prepare_streams()
    try:
        app(prog_name="avocet")
    except OSError as error:
        # The help or the version could not be printed; each command reports its own errors.
        print(f"avocet: {error}", file=sys.stderr)
        let_go_of_output()
        sys.exit(Exit.USAGE)
