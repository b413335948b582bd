"""Named places at which a test may end the service or one process, to see that nothing acknowledged is lost there.

`AVOCET_FAILPOINT=NAME:kill[:N]`, several separated by commas: SIGKILL ends the whole service the N-th time
(default: the first) that a process reaches NAME. `die` in place of `kill` ends that process alone, and not the one that
takes its place; `stop` stops it (SIGSTOP), with what it holds. Unset, as in any service that is used, a place costs one
look at an empty table.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "commit.before",  # the transaction is complete, its COMMIT is next
    "commit.after",  # durable, nobody has been answered
    "append.before",
    "append.after",  # in the file, the index does not know
    "patch.before",  # the lease is held
    "patch.appended",  # the new lines stand at the end, the old ones still stand
    "patch.blanked",  # one old line is gone
    "patch.after",  # in the file, the index does not know
    "replace.built",  # the new file is complete beside the old one
    "replace.noted",  # the index knows of the exchange to come
    "replace.exchanged",  # the index does not know
    "replace.marked",  # the index knows the new places
    "drain.read",  # the displaced file was read, its lines are not saved
    "drain.saved",  # its lines are in the ledger and the index
    "drain.unlinked",  # the displaced file is gone, the index still has its name
    "reuse.claimed",  # a displaced file will serve again, and nothing of it has changed
    "import.before",  # read, and compared; the ledger does not know
    "import.after",  # the ledger and the index do
)
VARIABLE = "AVOCET_FAILPOINT"


ACTIONS = ("kill", "die", "stop")


def _armed_by(text: str) -> dict[str, tuple[str, int]]:
    armed: dict[str, tuple[str, int]] = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition(":")
        action, _, times = action.partition(":")
        if name not in NAMES or action not in ACTIONS or not (times or "1").isdigit():
            raise SystemExit(f"avocet-grpc: {VARIABLE}: {part!r} is not NAME:kill[:N]; names: {', '.join(NAMES)}")
        armed[name] = action, int(times or "1")
    return armed


_armed = _armed_by(os.environ.get(VARIABLE, ""))


_supervisor = 0


def belong_to(supervisor: int, again: bool) -> None:
    """Say which process a kill ends first, so that it ends the service. `again`: this one follows one that died."""
    global _supervisor
    _supervisor = supervisor
    if again:
        _armed.clear()


def hit(name: str) -> None:
    """End the service or the process here, or stop it, if `AVOCET_FAILPOINT` says so."""
    if _armed and name in _armed:
        action, left = _armed[name]
        _armed[name] = action, left - 1
        if left <= 1:
            if action == "kill" and _supervisor:
                os.kill(_supervisor, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGSTOP if action == "stop" else signal.SIGKILL)
