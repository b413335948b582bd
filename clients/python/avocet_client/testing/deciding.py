"""The writes of reviewers and siblings: decisions, undo, batches, ingestion, claims."""

from __future__ import annotations

import secrets
import uuid
from typing import Any

from avocet_client.testing import checks
from avocet_client.testing.forms import written_response
from avocet_client.testing.lines import Record
from avocet_client.testing.reading import in_order, in_review, served, shown_alike
from avocet_client.testing.records import candidate_message, message_record
from avocet_client.testing.refusals import Refusal, invalid
from avocet_client.testing.store import Claim, Item, Store, status_word
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ACTIONS, CATEGORIES

ACTION_WORDS = {number: word for word, number in ACTIONS.items()}
CATEGORY_WORDS = {number: word for word, number in CATEGORIES.items()}
STATUS_AFTER = {"correct": "approved", "discard": "discarded", "flag": "model_rejected"}
MAX_HELD = 500
INGESTING = "ingestion-secret"
"""Who ingests, as the history says it: the name of the token."""


def submit(store: Store, request: pb.SubmitRequest) -> pb.SubmitResponse:
    """Answer `Submit`: the checks come in the service's order."""
    checks.submit(request)
    if (answer := store.recall(request, pb.SubmitResponse)) is not None:
        return answer
    item = _expected(store, request)
    if item.record.get("status") != "needs_review":
        current = status_word(item.record)
        raise Refusal(
            "NOT_IN_REVIEW",
            "The candidate is not in review; read it again, and undo its decision before you decide again.",
            current_status=current,
        )
    reviewer = _decider(store, request)
    record = item.record | _decided(store, request, reviewer)
    if request.action == pb.ACTION_CORRECT and not request.HasField("corrected_message"):
        record.pop("corrected_message", None)
    after = store.put(record, ACTION_WORDS[request.action], reviewer)
    store.claims.pop(request.id, None)
    if request.action == pb.ACTION_CORRECT:
        store.approve(record, after.revision)
    response = pb.SubmitResponse(candidate=candidate_message(record, after.revision))
    return store.remember(request, response)


def undo(store: Store, request: pb.UndoRequest) -> pb.UndoResponse:
    """Answer `Undo`."""
    checks.not_negative(request, "expected_revision")
    checks.at_most("reviewer", request.reviewer)
    checks.candidate_id(request.id)
    checks.request_id(request.request_id)
    if (answer := store.recall(request, pb.UndoResponse)) is not None:
        return answer
    item = _expected(store, request)
    if item.record.get("status") == "needs_review":
        raise Refusal("ALREADY_IN_REVIEW", "The candidate is in review already; there is nothing to undo.")
    after = store.put(_before(store, item.record), "undo", request.reviewer)
    store.withdraw(request.id, after.revision)
    del store.duplicates[pb.SHARED_FILE_APPROVED, request.id]
    (candidate,) = served(store, [after])
    return store.remember(request, pb.UndoResponse(candidate=candidate))


def batch_submit(store: Store, request: pb.BatchSubmitRequest) -> pb.BatchSubmitResponse:
    """Answer `BatchSubmit`: each decision as `Submit` would decide it."""
    if not request.decisions:
        raise invalid("decisions", "must have at least one value")
    if len(request.decisions) > 500:
        raise invalid("decisions", "must have at most 500 values")
    for i, decision in enumerate(request.decisions):
        if decision.request_id:
            raise invalid(f"decisions[{i}].request_id", "must be left out: the batch has one")
    checks.request_id(request.request_id)
    if (answer := store.recall(request, pb.BatchSubmitResponse)) is not None:
        return answer
    response = pb.BatchSubmitResponse(results=[_result(store, decision) for decision in request.decisions])
    return store.remember(request, response)


def ingest(store: Store, request: pb.IngestRequest) -> pb.IngestResponse:
    """Answer `Ingest`, and one item of `StreamIngest`."""
    checks.ingest(request)
    answer: pb.IngestResponse | None = store.recall(request, pb.IngestResponse)
    if answer is not None:
        return pb.IngestResponse(id=answer.id, created=False)
    record: Record = {
        "id": str(uuid.uuid4()),
        "source": request.source,
        "task_type": request.task_type,
        "status": "approved",
        "prompt_messages": [{"role": "user", "content": request.prompt}],
        "model_response": request.response,
        "corrected_response": request.correction,
        "label": request.label if request.HasField("label") else None,
        "timestamp": store.clock.iso(),
        "benchmark_run_id": None,
    }
    item = store.put(record, "ingest", INGESTING)
    store.approve(record, item.revision)
    return store.remember(request, pb.IngestResponse(id=record["id"], created=True))


def ingest_message(store: Store, request: pb.StreamIngestRequest, begin: int) -> pb.StreamIngestResponse:
    """Answer one message of `StreamIngest`; its first item is the `begin`-th of the call."""
    if len(request.items) > 1_000:
        raise invalid("items", "must be at most 1,000 a message; send the rest in the next one")
    response = pb.StreamIngestResponse()
    for index, item in enumerate(request.items, begin):
        try:
            stored = ingest(store, item)
            response.results.add(index=index, id=stored.id, created=stored.created)
        except Refusal as refusal:
            response.results.add(index=index, error=refusal.status())
    return response


def claim(store: Store, request: pb.ClaimRequest) -> pb.ClaimResponse:
    """Answer `Claim`."""
    checks.at_most("reviewer", request.reviewer)
    checks.not_blank("reviewer", request.reviewer)
    limit = checks.in_range("limit", request.limit or 1, 1, 50)
    seconds = checks.in_range("lease_seconds", request.lease_seconds or 600, 10, 3_600)
    checks.filter(request.filter)
    checks.order(request.order)
    checks.request_id(request.request_id)
    answer: pb.ClaimResponse | None = store.recall(request, pb.ClaimResponse)
    if answer is not None:
        return pb.ClaimResponse(claims=[one for one in answer.claims if _living(store, one.lease_id)])
    held = sum(one.reviewer == request.reviewer for one in store.claims.values() if store.claim_of(one.id))
    free = [item for item in in_review(store, request.filter) if _is_free(store, item, request.reviewer)]
    response = pb.ClaimResponse()
    for item in in_order(free, request.order)[: max(0, min(limit, MAX_HELD - held))]:
        id = item.record["id"]
        taken = Claim(secrets.token_urlsafe(16), id, request.reviewer, store.clock.now() + seconds)
        store.claims[id] = taken
        message = _claim_message(taken)
        message.candidate.CopyFrom(shown_alike(store, [item])[0])
        response.claims.append(message)
    return store.remember(request, response)


def renew_claims(store: Store, request: pb.RenewClaimsRequest) -> pb.RenewClaimsResponse:
    """Answer `RenewClaims`."""
    seconds = checks.in_range("lease_seconds", request.lease_seconds or 600, 10, 3_600)
    living, lost = _leases(store, request)
    for one in living:
        one.expires_at = store.clock.now() + seconds
    return pb.RenewClaimsResponse(claims=[_claim_message(one) for one in living], lost=lost)


def release_claims(store: Store, request: pb.ReleaseClaimsRequest) -> pb.ReleaseClaimsResponse:
    """Answer `ReleaseClaims`."""
    checks.in_range("postpone_seconds", request.postpone_seconds, 0, 604_800)
    living, lost = _leases(store, request)
    for one in living:
        del store.claims[one.id]
        if request.postpone_seconds:
            store.postponed[one.reviewer, one.id] = store.clock.now() + request.postpone_seconds
    return pb.ReleaseClaimsResponse(released=len(living), lost=lost)


def _expected(store: Store, request: Any) -> Item:
    item = store.find(request.id)
    if request.HasField("expected_revision") and request.expected_revision != item.revision:
        sentence = "The candidate has changed since it was read; read it again, then decide again."
        raise Refusal("REVISION_MISMATCH", sentence, current_revision=str(item.revision))
    return item


def _decider(store: Store, request: pb.SubmitRequest) -> str:
    """Return who decides. Raises CLAIM_LOST, CLAIMED."""
    held = store.claim_of(request.id)
    if request.lease_id:
        if held is None or held.lease_id != request.lease_id or request.reviewer not in ("", held.reviewer):
            sentence = "The lease is not the candidate's current claim, and somebody else may be at work; claim again."
            raise Refusal("CLAIM_LOST", sentence)
        return held.reviewer
    if held is not None and held.reviewer != request.reviewer:
        expires = _claim_message(held).expires_at.ToDatetime().isoformat(timespec="milliseconds") + "Z"
        sentence = "Another reviewer holds the candidate; take another one, or wait until the claim ends."
        raise Refusal("CLAIMED", sentence, reviewer=held.reviewer, expires_at=expires)
    return request.reviewer


def _decided(store: Store, request: pb.SubmitRequest, reviewer: str) -> Record:
    """Return the keys that a decision writes."""
    category = CATEGORY_WORDS.get(request.failure_category)
    corrects = request.action == pb.ACTION_CORRECT
    changes: Record = {"status": STATUS_AFTER[ACTION_WORDS[request.action]]}
    if corrects and request.HasField("corrected_message"):
        message = message_record(request.corrected_message)
        changes["corrected_response"] = written_response(message)
        changes["corrected_message"] = message
    elif corrects:
        changes["corrected_response"] = request.corrected_response
    if corrects or category:
        changes["failure_category"] = category
    changes["reviewed_at"] = store.clock.iso()
    return changes | ({"reviewed_by": reviewer} if reviewer else {})


def _before(store: Store, record: Record) -> Record:
    """Return the record without what its decision set."""
    own = (
        change
        for change in reversed(store.changes)
        if change.id == record["id"] and change.file == pb.SHARED_FILE_CANDIDATES
    )
    last = next(own, None)
    if last is not None and last.action in STATUS_AFTER and last.before is not None:
        return last.before
    before = {**record, "status": "needs_review", "corrected_response": None}
    before.pop("corrected_message", None)
    return before | ({"failure_category": None} if "failure_category" in before else {})


def _result(store: Store, decision: pb.SubmitRequest) -> pb.BatchSubmitResult:
    try:
        candidate = submit(store, decision).candidate
    except Refusal as refusal:
        return pb.BatchSubmitResult(error=refusal.status())
    shown = pb.Candidate(id=candidate.id, status=candidate.status, revision=candidate.revision)
    return pb.BatchSubmitResult(candidate=shown)


def _is_free(store: Store, item: Item, reviewer: str) -> bool:
    id = item.record["id"]
    return store.claim_of(id) is None and store.postponed.get((reviewer, id), 0) <= store.clock.now()


def _living(store: Store, lease_id: str) -> Claim | None:
    return next((one for one in store.claims.values() if one.lease_id == lease_id and store.claim_of(one.id)), None)


def _leases(store: Store, request: Any) -> tuple[list[Claim], list[str]]:
    """Return the living claims of a request, and its other lease ids."""
    if not 1 <= len(request.lease_ids) <= 500:
        raise invalid("lease_ids", "must have 1 to 500 values")
    ids = list(dict.fromkeys(request.lease_ids))
    living = [one for id in ids if (one := _living(store, id)) is not None]
    return living, [id for id in ids if id not in {one.lease_id for one in living}]


def _claim_message(one: Claim) -> pb.Claim:
    message = pb.Claim(lease_id=one.lease_id, reviewer=one.reviewer)
    message.expires_at.FromMilliseconds(int(one.expires_at * 1_000))
    return message
