"""Commands that may use only so much. A `preexec_fn` would fork the threads of gRPC, and end in an abort at times."""

from __future__ import annotations

import json
import sys

BECOME = (
    "import json, os, resource, sys\n"
    "for name, most in json.loads(sys.argv[1]).items():\n"
    "    resource.setrlimit(getattr(resource, name), (most, most))\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""Sets the limits, and becomes the command."""


def limited(command: list[str], **limits: int) -> list[str]:
    """The command with these limits, each by its name of the module `resource`: RLIMIT_FSIZE=1_000_000."""
    return [sys.executable, "-c", BECOME, json.dumps(limits), *command]
