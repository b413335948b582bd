"""The reads of the in-memory service: queue, lists, history, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from avocet_client.testing import checks
from avocet_client.testing.forms import is_exportable, prompt_digest, searched_texts, text_of, unexportable
from avocet_client.testing.lines import Record
from avocet_client.testing.records import candidate_message, quality_of
from avocet_client.testing.refusals import EXPIRED, Refusal, invalid
from avocet_client.testing.store import Item, Store, change_message, status_word
from avocet_client.testing.tokens import state_of, token_of
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CATEGORIES, CHANGE_ACTIONS, STATUSES

LISTS = {
    "task_types": "task_type",
    "model_names": "model_name",
    "sources": "source",
    "benchmark_run_ids": "benchmark_run_id",
    "labels": "label",
}
ORDER_KEYS: dict[int, Callable[[Record], Any]] = {
    pb.ORDER_TIMESTAMP: lambda record: text_of(record, "timestamp"),
    pb.ORDER_TIMESTAMP_DESC: lambda record: text_of(record, "timestamp"),
    pb.ORDER_QUALITY: quality_of,
    pb.ORDER_QUALITY_DESC: quality_of,
    pb.ORDER_REVIEWED: lambda record: text_of(record, "reviewed_at"),
    pb.ORDER_REVIEWED_DESC: lambda record: text_of(record, "reviewed_at"),
}
DESCENDING = (pb.ORDER_TIMESTAMP_DESC, pb.ORDER_QUALITY_DESC, pb.ORDER_REVIEWED_DESC)
SAME_PROMPT = 100

Place = list[Any]
"""Where an item stands in an order: whether it lacks the value, the value, and its key."""


def passes(record: Record, filter: pb.CandidateFilter) -> bool:
    """Return True if the record passes the filter: lists are ORed inside and ANDed together."""
    for name, key in LISTS.items():
        if (wanted := getattr(filter, name)) and text_of(record, key) not in wanted:
            return False
    category = CATEGORIES.get(text_of(record, "failure_category") or "")
    if filter.failure_categories and category not in filter.failure_categories:
        return False
    if filter.prompt_digests and prompt_digest(record) not in filter.prompt_digests:
        return False
    quality = quality_of(record)
    if filter.HasField("min_quality_score") and (quality is None or quality < filter.min_quality_score):
        return False
    return not filter.HasField("max_quality_score") or (quality is not None and quality <= filter.max_quality_score)


def in_order(items: Iterable[Item], order: int) -> list[Item]:
    """Return the items in the order. Those without the value come last, whichever way it runs."""
    placed = sorted(items, key=lambda item: place(item, order), reverse=order in DESCENDING)
    return sorted(placed, key=lambda item: place(item, order)[0])


def place(item: Item, order: int) -> Place:
    value = ORDER_KEYS[order](item.record) if order in ORDER_KEYS else 0
    return [value is None, 0 if value is None else value, item.key]


def queue(store: Store, request: pb.QueueRequest) -> pb.QueueResponse:
    """Answer `Queue`."""
    checks.not_negative(request, "page")
    if request.page and request.page_token:
        raise invalid("page", "must be left out together with page_token")
    per_page = checks.page_size("per_page", request.per_page, 20)
    checks.filter(request.filter)
    checks.order(request.order)
    checks.known("claims", request.claims, pb.ClaimState.values())
    if request.claims == pb.CLAIM_STATE_MINE:
        checks.not_blank("reviewer", request.reviewer)
    found = in_order((item for item in in_review(store, request.filter) if _held(store, item, request)), request.order)
    total, page, offset = len(found), request.page or 1, ((request.page or 1) - 1) * per_page
    if (state := state_of(request)) is not None:
        after, page = state
        found, offset = _after(found, request.order, after), 0
    shown = found[offset : offset + per_page]
    token = ""
    if len(found) > offset + per_page:
        token = token_of(request, [place(shown[-1], request.order), page + 1])
    items = shown_alike(store, shown, include_record=request.include_record)
    return pb.QueueResponse(items=items, total=total, page=page, per_page=per_page, next_page_token=token)


def list_candidates(store: Store, request: pb.ListCandidatesRequest) -> pb.ListCandidatesResponse:
    """Answer `ListCandidates`."""
    checks.order(request.order, reviewed=True)
    if request.text:
        checks.at_most("text", request.text)
        if len(request.text) < 3:
            raise invalid("text", "must have at least 3 characters")
        if request.order not in (pb.ORDER_UNSPECIFIED, pb.ORDER_FILE):
            raise invalid("order", "must be ORDER_FILE together with text")
    checks.statuses(request.statuses)
    checks.filter(request.filter)
    size = checks.page_size("page_size", request.page_size, 20)
    statuses, needle = set(request.statuses), _folded(request.text)
    found = in_order(
        (
            item
            for item in store.items.values()
            if (not statuses or STATUSES.get(status_word(item.record), 0) in statuses)
            and passes(item.record, request.filter)
            and any(needle in _folded(text) for text in searched_texts(item.record))
        ),
        request.order,
    )
    if (after := state_of(request)) is not None:
        found = _after(found, request.order, after)
    shown = found[:size]
    token = token_of(request, place(shown[-1], request.order)) if len(found) > size else ""
    items = shown_alike(store, shown, include_record=request.include_record)
    return pb.ListCandidatesResponse(items=items, next_page_token=token)


def list_history(store: Store, request: pb.ListHistoryRequest) -> pb.ListHistoryResponse:
    """Answer `ListHistory`."""
    checks.not_negative(request, "since_revision")
    if request.id:
        checks.candidate_id(request.id)
    checks.actions(request.actions)
    size = checks.page_size("page_size", request.page_size, 50)
    since(store, request.since_revision)
    found = [
        (number, change)
        for number, change in enumerate(store.changes)
        if change.revision > request.since_revision
        and request.id in ("", change.id)
        and (not request.actors or change.actor in request.actors)
        and (not request.actions or CHANGE_ACTIONS[change.action] in request.actions)
    ]
    after = state_of(request)
    if not request.oldest_first:
        found = [pair for pair in reversed(found) if after is None or pair[0] < after]
    elif after is not None:
        found = [pair for pair in found if pair[0] > after]
    shown = found[:size]
    token = token_of(request, shown[-1][0]) if len(found) > size else ""
    changes = [change_message(change, values=bool(request.id)) for _, change in shown]
    return pb.ListHistoryResponse(changes=changes, next_page_token=token)


def stats(store: Store, request: pb.StatsRequest) -> pb.StatsResponse:
    """Answer `Stats`."""
    checks.filter(request.filter)
    records = [item.record for item in store.items.values() if passes(item.record, request.filter)]

    def counted(key: str, *, known_alone: bool = False) -> Counter[str]:
        words = [text_of(record, key) for record in records]
        return Counter("unknown" if word is None else word for word in words if not known_alone or word is not None)

    approved = [a.record for a in store.approvals if a.at(store.revision) and passes(a.record, request.filter)]
    reasons = [unexportable(record) for record in approved if record.get("status") == "approved"]
    return pb.StatsResponse(
        total=len(records),
        by_status=counted("status"),
        by_model=counted("model_name"),
        by_task_type=counted("task_type"),
        by_source=counted("source", known_alone=True),
        by_failure_category=counted("failure_category", known_alone=True),
        export_ready=sum(is_exportable(record) for record in approved),
        unexportable=Counter(reason for reason in reasons if reason),
        duplicate_ids=store.duplicates.total(),
        revision=store.revision,
        claimed=sum(store.claim_of(item.record["id"]) is not None for item in in_review(store, request.filter)),
    )


def in_review(store: Store, filter: pb.CandidateFilter) -> list[Item]:
    """Return the candidates in review that pass the filter, in order of first sight."""
    items = store.items.values()
    return [item for item in items if item.record.get("status") == "needs_review" and passes(item.record, filter)]


def shown_alike(store: Store, items: Sequence[Item], *, include_record: bool = False) -> list[pb.Candidate]:
    """Return candidates as `served`, with how many others were asked the same: in lists, claims and GetCandidate."""
    made = served(store, items, include_record=include_record)
    digests = Counter(prompt_digest(item.record) for item in store.items.values())
    for candidate in made:
        if candidate.prompt_digest:
            candidate.same_prompt = min(digests[candidate.prompt_digest] - 1, SAME_PROMPT)
    return made


def served(store: Store, items: Sequence[Item], *, include_record: bool = False) -> list[pb.Candidate]:
    """Return candidates as reviewers see them, with their holders."""
    made = [candidate_message(item.record, item.revision, include_record=include_record) for item in items]
    for candidate in made:
        claim = store.claim_of(candidate.id) if candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW else None
        if claim is not None:
            candidate.claim.reviewer = claim.reviewer
            candidate.claim.expires_at.FromMilliseconds(int(claim.expires_at * 1_000))
    return made


def since(store: Store, revision: int) -> None:
    """Refuse a revision that is still to come, and one from before this store."""
    if revision > store.revision:
        raise invalid("since_revision", f"is still to come; the newest revision is {store.revision}")
    if 0 < revision < store.floor:
        raise Refusal(*EXPIRED)


def _held(store: Store, item: Item, request: pb.QueueRequest) -> bool:
    claim = store.claim_of(item.record["id"])
    match request.claims:
        case pb.CLAIM_STATE_UNCLAIMED:
            return claim is None
        case pb.CLAIM_STATE_CLAIMED:
            return claim is not None
        case pb.CLAIM_STATE_MINE:
            return claim is not None and claim.reviewer == request.reviewer
    return True


def _after(items: list[Item], order: int, after: Place) -> list[Item]:
    def is_beyond(here: Place) -> bool:
        if here[0] != after[0]:
            return bool(here[0])
        return here < after if order in DESCENDING else here > after

    return [item for item in items if is_beyond(place(item, order))]


def _folded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").lower()
