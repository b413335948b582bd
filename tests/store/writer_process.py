"""A process of its own that writes to a ledger: `python -m tests.store.writer_process DIRECTORY NAME COUNT`.

It prints a line of JSON for each answer that it got, and only then: what it printed was acknowledged.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from avocet_grpc.core import ingest, review
from avocet_grpc.core.errors import CorrectionsError, StorageFailed
from avocet_grpc.core.model import Action, Correction, Decision
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.ledger_suite import encode

AT_ONCE = 8


def tell(**what: Any) -> None:
    # One write, since two threads tell.
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def works(name: str, count: int) -> list[Any]:
    """Corrections of this writer's own, some under a request_id that all writers use, and decisions that all make."""
    made, candidates = [], list(range(count))
    random.Random(name).shuffle(candidates)
    for n, candidate in enumerate(candidates):
        shared = Correction("all", "qa", "p", "r", f"shared {n}", request_id=f"shared-{n}")
        decision = Decision(f"c{candidate}", Action.CORRECT, name, reviewer=name)
        own = Correction(name, "qa", "p", "r", f"{name} {n}")
        made += [
            ("own", n, lambda tx, one=own: ingest.ingest(tx, one)),
            ("shared", n, lambda tx, one=shared: ingest.ingest(tx, one)),
            ("decided", candidate, lambda tx, one=decision: review.submit(tx, one)),
        ]
    return made


def main(directory: str, name: str, count: int) -> None:
    ledger = SqliteLedger(DataDirectory(Path(directory)), encode)
    ledger.on_failure(lambda: tell(failed=True))
    tell(ready=True)
    sys.stdin.readline()
    waiting: list[Any] = []
    for kind, n, work in works(name, count):
        waiting.append((kind, n, ledger.write(work)))
        if len(waiting) >= AT_ONCE:
            answer(*waiting.pop(0))
    for one in waiting:
        answer(*one)
    ledger.close()
    tell(closed=True)


def answer(kind: str, n: int, future: Any) -> None:
    try:
        result = future.result()
    except StorageFailed:
        raise SystemExit(5) from None
    except CorrectionsError as error:
        tell(kind=kind, n=n, refused=type(error).__name__)
    else:
        tell(kind=kind, n=n, id=result.id) if kind != "decided" else tell(kind=kind, n=n, revision=result.revision)


def limit_files(size: int) -> None:
    """No file may grow beyond this size; a write beyond it fails, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
