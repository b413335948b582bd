"""A process that the supervisor starts: `python -m avocet_grpc.processes ROLE DESCRIPTOR`."""

from __future__ import annotations

import os
import sys

from avocet_grpc.lean import leave_out_rich


def main(arguments: list[str]) -> int:
    """Do the work of the role; gives the exit code."""
    role, descriptor = arguments
    # gRPC's core writes lines of its own to stderr if a port is taken; the service says it in one.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    leave_out_rich()
    from avocet_grpc.processes.parent import Parent

    parent = Parent(int(descriptor))
    if role == "mirror":
        from avocet_grpc.processes.mirror_process import run
    else:
        from avocet_grpc.processes.worker import run
    return run(parent)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
