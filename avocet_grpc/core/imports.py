"""Importing the candidates of a benchmark run."""

from __future__ import annotations

from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.model import ChangeAction, File, Imported, ParsedLine
from avocet_grpc.core.ports.ledger import HistoryEntry, Transaction


def import_run(tx: Transaction, run_id: str, lines: list[ParsedLine], actor: str = "") -> Imported:
    """Add the run's records as they are; an id that is known already is skipped, the first line of an id counts.

    All of it shares one revision.
    """
    imported = skipped = malformed = 0
    for line in lines:
        if line.columns is None:
            malformed += 1
        elif tx.candidate(line.columns.id) is not None:
            skipped += 1
        else:
            tx.put(File.CANDIDATES, line)
            tx.note(_entry(tx, line.columns.id, actor, line.columns.status))
            imported += 1
    return Imported(imported, skipped, malformed)


def _entry(tx: Transaction, id: str, actor: str, status: str | None) -> HistoryEntry:
    return HistoryEntry(
        revision=tx.new_revision(),
        file=File.CANDIDATES,
        id=id,
        action=ChangeAction.IMPORT,
        actor=actor,
        at=now_iso(),
        status_after=status,
        change=None,
    )
