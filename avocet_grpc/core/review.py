"""What a decision and its undo write into the record and the two files (`Submit` and `Undo` in corrections.proto)."""

from __future__ import annotations

import json
from dataclasses import replace

from avocet_grpc.core import idempotency
from avocet_grpc.core.claims import decider
from avocet_grpc.core.clock import now_iso
from avocet_grpc.core.errors import (
    AlreadyInReview,
    CandidateNotFound,
    NotInReview,
    RevisionMismatch,
)
from avocet_grpc.core.forms import written_response
from avocet_grpc.core.model import (
    Action,
    Candidate,
    ChangeAction,
    Decision,
    File,
    ParsedLine,
    Record,
    Status,
    UndoRequest,
)
from avocet_grpc.core.ports.ledger import HistoryEntry, Transaction
from avocet_grpc.core.record import check_length, difference, record_in, record_of, render, replace_surrogates

DECISIONS = frozenset(action.value for action in Action)
OF_OTHERS = frozenset({ChangeAction.EDIT, ChangeAction.OVERRULE})
"""Entries of the history that leave the decision before them in force."""
STATUS_AFTER = {
    Action.CORRECT: Status.APPROVED,
    Action.DISCARD: Status.DISCARDED,
    Action.FLAG: Status.MODEL_REJECTED,
}


def submit(tx: Transaction, decision: Decision) -> Candidate:
    """Decide on a candidate in review, which ends the claim on it.

    Raises InvalidField for a request_id of other content, CandidateNotFound, RevisionMismatch, NotInReview, ClaimLost,
    Claimed: the first in this order that applies.
    """
    digest = idempotency.digest("Submit", decision)
    if (answer := idempotency.recall(tx, decision, digest)) is not None:
        return _as_candidate(answer)
    candidate = _find(tx, decision.id, decision.expected_revision)
    record = record_of(candidate)
    if record.get("status") != Status.NEEDS_REVIEW:
        raise NotInReview(status_word(record))
    reviewer = decider(tx.claims, decision, candidate.key)
    if reviewer != decision.reviewer:
        decision = replace(decision, reviewer=reviewer)
    line = render(_decided(record, decision))
    check_length(line, _field_of_text(decision))
    at = record_in(line)["reviewed_at"]
    after = _write(tx, record, line, ChangeAction(decision.action.value), decision.reviewer, at)
    if decision.action is Action.CORRECT:
        tx.put(File.APPROVED, line)
    idempotency.keep(tx, decision, digest, _as_answer(after))
    return after


def undo(tx: Transaction, request: UndoRequest) -> Candidate:
    """Put a candidate back in review, as it was before its decision.

    Raises CandidateNotFound, RevisionMismatch, AlreadyInReview, or InvalidField for a request_id of other content.
    """
    digest = idempotency.digest("Undo", request)
    if (answer := idempotency.recall(tx, request, digest)) is not None:
        return _as_candidate(answer)
    candidate = _find(tx, request.id, request.expected_revision)
    record = record_of(candidate)
    if record.get("status") == Status.NEEDS_REVIEW:
        raise AlreadyInReview("in review already")
    before = _before_decision(tx, record)
    line = render(before)
    check_length(line, "id")
    after = _write(tx, record, line, ChangeAction.UNDO, request.reviewer, now_iso())
    tx.remove(File.APPROVED, request.id)
    idempotency.keep(tx, request, digest, _as_answer(after))
    return after


def status_word(record: Record) -> str:
    """Return the record's status word as it can be stored and sent; `unknown` if it has none."""
    word = status_of(record)
    return "unknown" if word is None else word


def status_of(record: Record | None) -> str | None:
    """Return the record's status word as the history has it; None without a record, or if it has none."""
    status = None if record is None else record.get("status")
    return replace_surrogates(status) if isinstance(status, str) else None


def _find(tx: Transaction, id: str, expected_revision: int | None) -> Candidate:
    candidate = tx.candidate(id)
    if candidate is None:
        raise CandidateNotFound(id)
    if expected_revision is not None and candidate.revision != expected_revision:
        raise RevisionMismatch(candidate.revision)
    return candidate


def _decided(record: Record, decision: Decision) -> Record:
    """Return the record with what the decision writes. A correction by text takes an older corrected message out."""
    after = record | _changes(decision)
    if decision.action is Action.CORRECT and decision.corrected_message is None:
        after.pop("corrected_message", None)
    return after


def _field_of_text(decision: Decision) -> str:
    """Return the field to which a line owes its length, as far as the decision knows."""
    if decision.action is not Action.CORRECT:
        return "id"
    return "corrected_response" if decision.corrected_message is None else "corrected_message"


def _changes(decision: Decision) -> Record:
    category = decision.failure_category.value if decision.failure_category else None
    changes: Record = {"status": STATUS_AFTER[decision.action].value}
    if decision.action is Action.CORRECT:
        changes["corrected_response"] = decision.corrected_response
        if decision.corrected_message is not None:
            changes["corrected_response"] = written_response(decision.corrected_message)
            changes["corrected_message"] = decision.corrected_message
    if decision.action is Action.CORRECT or category:
        changes["failure_category"] = category
    changes["reviewed_at"] = now_iso()
    if decision.reviewer:
        changes["reviewed_by"] = decision.reviewer
    return changes


def _before_decision(tx: Transaction, record: Record) -> Record:
    """Return the record without what its decision set, as the history knows it, else as the proto says of `Undo`."""
    entry = tx.newest_change(record["id"], lambda e: e.file is File.CANDIDATES and e.action not in OF_OTHERS)
    before = dict(record)
    if entry and entry.action in DECISIONS and entry.change and entry.status_after == record.get("status"):
        change = json.loads(entry.change)
        for key in change["set"]:
            before.pop(key, None) if key not in change["was"] else before.__setitem__(key, change["was"][key])
        return before
    before["status"] = Status.NEEDS_REVIEW.value
    before["corrected_response"] = None
    before.pop("corrected_message", None)
    if "failure_category" in before:
        before["failure_category"] = None
    return before


def _write(tx: Transaction, was: Record, line: ParsedLine, action: ChangeAction, actor: str, at: str) -> Candidate:
    record = record_in(line)
    tx.put(File.CANDIDATES, line)
    tx.note(
        HistoryEntry(
            revision=tx.new_revision(),
            file=File.CANDIDATES,
            id=record["id"],
            action=action,
            actor=actor,
            at=at,
            status_before=status_of(was),
            status_after=status_of(record),
            change=difference(was, record),
        )
    )
    after = tx.candidate(record["id"])
    assert after is not None, "what was just put is there"
    return after


def _as_answer(candidate: Candidate) -> Record:
    return {"key": candidate.key, "raw": candidate.raw.decode("ascii"), "revision": candidate.revision}


def _as_candidate(answer: Record) -> Candidate:
    return Candidate(answer["key"], answer["raw"].encode("ascii"), answer["revision"])
