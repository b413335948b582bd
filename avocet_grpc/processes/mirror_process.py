"""The mirror: the process that keeps the two shared files and the ledger level."""

from __future__ import annotations

from avocet_grpc.exit_codes import ExitCode
from avocet_grpc.processes.messages import Measure, Measured, Prepared, Running, Stop
from avocet_grpc.processes.parent import Parent
from avocet_grpc.telemetry import logs


def run(parent: Parent) -> int:
    """Follow the ledger until the supervisor says Stop. Gives the exit code."""
    logs.configure(parent.begin.settings.log_level, process=parent.begin.name)
    if not parent.may_go(Prepared()):
        return ExitCode.OK
    parent.report(Running())
    while not isinstance(order := parent.next_order(), Stop):
        if isinstance(order, Measure):
            parent.report(Measured([]))
    return ExitCode.OK
