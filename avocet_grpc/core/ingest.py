"""A correction that a sibling's own user made becomes an approved record."""

from __future__ import annotations

import uuid

from avocet_grpc.core import idempotency
from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.model import ChangeAction, Correction, File, Ingested, Record, Status
from avocet_grpc.core.ports.ledger import HistoryEntry, Transaction
from avocet_grpc.core.record import check_length, render


def ingest(tx: Transaction, correction: Correction) -> Ingested:
    """Store the correction in both files.

    Raises InvalidField for a request_id of other content, or texts whose line would be too long.
    """
    digest = idempotency.digest("Ingest", correction)
    if (answer := idempotency.recall(tx, correction, digest)) is not None:
        return Ingested(answer["id"], created=False)
    record = new_record(correction)
    line = render(record)
    check_length(line, max(("prompt", "response", "correction"), key=lambda name: len(getattr(correction, name))))
    tx.add(File.CANDIDATES, line)
    tx.add(File.APPROVED, line)
    tx.note(
        HistoryEntry(
            revision=tx.new_revision(),
            file=File.CANDIDATES,
            id=record["id"],
            action=ChangeAction.INGEST,
            actor=correction.principal,
            at=record["timestamp"],
            status_after=Status.APPROVED,
            change=None,
        )
    )
    idempotency.keep(tx, correction, digest, {"id": record["id"]})
    return Ingested(record["id"], created=True)


def new_record(correction: Correction) -> Record:
    """Return the record, with keys of `Candidate` in `corrections.proto`; its id is a new UUID4."""
    return {
        "id": str(uuid.uuid4()),
        "source": correction.source,
        "task_type": correction.task_type,
        "status": Status.APPROVED.value,
        "prompt_messages": [{"role": "user", "content": correction.prompt}],
        "model_response": correction.response,
        "corrected_response": correction.correction,
        "label": correction.label,
        "timestamp": now_iso(),
        "benchmark_run_id": None,
    }
