"""Requests as core nouns. What can be refused without the store is refused here, as InvalidField."""

from __future__ import annotations

import math
import os.path
import re
from collections.abc import Iterable
from dataclasses import dataclass

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import (
    REVIEW_ORDERS,
    Action,
    CandidateFilter,
    Correction,
    Decision,
    FailureCategory,
    OnConflict,
    Order,
    Split,
    UndoRequest,
)
from avocet_grpc.core.ports.claims import ANY, ClaimState, HeldBy
from avocet_grpc.core.record import MAX_ID_CHARACTERS, is_valid_id
from avocet_grpc.core.runs import is_run_name
from avocet_grpc.core.snapshots import NAME
from avocet_grpc.edge.checks import (
    MAX_STRING,
    MAX_TEXT,
    at_most,
    known,
    not_blank,
    not_negative,
    page_size,
    request_id,
    short_list,
    strings,
)
from avocet_grpc.edge.enums import ACTIONS, CATEGORIES, CLAIM_STATES, ON_CONFLICTS, ORDERS, SPLIT_BYS
from avocet_grpc.edge.parse_message import corrected_message

QUEUE_PAGE = 20
RUNS_PAGE = 50
MAX_BATCH = 1_000
MAX_ITEMS = 1_000
MAX_LEASE = 64


PROMPT_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class QueueQuery:
    """A page of the queue that is asked for."""

    filter: CandidateFilter
    order: Order
    page: int
    per_page: int
    page_token: str
    include_record: bool = False
    held: HeldBy = ANY


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """An export that is asked for; `batch_size` 0 leaves it to the server."""

    filter: CandidateFilter
    shard_index: int
    shard_count: int
    split: Split | None
    batch_size: int
    at_revision: int
    since_revision: int
    resume_token: str
    unique_prompts: bool
    snapshot: str = ""


def queue_query(request: pb.QueueRequest) -> QueueQuery:
    """Return the page that is asked for; `page` 0 is 1. Raises InvalidField."""
    not_negative("page", request.page)
    if request.page and request.page_token:
        raise InvalidField("page", "must be left out together with page_token")
    per_page = page_size("per_page", request.per_page, QUEUE_PAGE)
    return QueueQuery(
        filter=candidate_filter(request.filter),
        order=order(request.order),
        page=request.page or 1,
        per_page=per_page,
        page_token=request.page_token,
        include_record=request.include_record,
        held=_held_by(request),
    )


def export_query(request: pb.StreamExportRequest) -> ExportQuery:
    """Return the export that is asked for; `shard_count` 0 is 1. Raises InvalidField."""
    if not 0 <= request.batch_size <= MAX_BATCH:
        raise InvalidField("batch_size", f"must be from 0 to {MAX_BATCH:,}")
    for field in ("shard_count", "at_revision", "since_revision"):
        not_negative(field, getattr(request, field))
    shard_count = request.shard_count or 1
    if not 0 <= request.shard_index < shard_count:
        raise InvalidField("shard_index", f"must be from 0 to shard_count - 1, which is {shard_count - 1}")
    return ExportQuery(
        filter=candidate_filter(request.filter),
        shard_index=request.shard_index,
        shard_count=shard_count,
        split=_split(request.split) if request.HasField("split") else None,
        batch_size=request.batch_size,
        at_revision=request.at_revision,
        since_revision=request.since_revision,
        resume_token=request.resume_token,
        unique_prompts=request.unique_prompts,
        snapshot=_snapshot(request),
    )


def decision(request: pb.SubmitRequest, principal: str = "") -> Decision:
    """Return a reviewer's decision; `principal` is the name of the caller's token. Raises InvalidField."""
    action = ACTIONS.get(request.action)
    if action is None:
        raise InvalidField("action", "must be ACTION_CORRECT, ACTION_DISCARD or ACTION_FLAG")
    message = corrected_message(request) if action is Action.CORRECT else None
    at_most("corrected_response", request.corrected_response, MAX_TEXT)
    if action is Action.CORRECT and message is None:
        not_blank("corrected_response", request.corrected_response)
    at_most("reviewer", request.reviewer, MAX_STRING)
    at_most("lease_id", request.lease_id, MAX_LEASE)
    category = request.failure_category
    return Decision(
        id=candidate_id(request.id),
        action=action,
        corrected_response=request.corrected_response,
        corrected_message=message,
        failure_category=_category("failure_category", category) if category else None,
        reviewer=request.reviewer,
        request_id=request_id(request.request_id),
        expected_revision=_expected_revision(request),
        principal=principal,
        lease_id=request.lease_id,
    )


def undo_request(request: pb.UndoRequest, principal: str = "") -> UndoRequest:
    """Return a request to take a decision back; `principal` names the caller's token. Raises InvalidField."""
    at_most("reviewer", request.reviewer, MAX_STRING)
    return UndoRequest(
        id=candidate_id(request.id),
        reviewer=request.reviewer,
        request_id=request_id(request.request_id),
        expected_revision=_expected_revision(request),
        principal=principal,
    )


def correction(request: pb.IngestRequest, principal: str = "") -> Correction:
    """Return a sibling's correction; `principal` is the name of the caller's token. Raises InvalidField."""
    limits = {"source": MAX_STRING, "task_type": MAX_STRING, "prompt": MAX_TEXT, "correction": MAX_TEXT}
    for field, limit in limits.items():
        at_most(field, getattr(request, field), limit)
        not_blank(field, getattr(request, field))
    at_most("response", request.response, MAX_TEXT)
    at_most("label", request.label, MAX_STRING)
    return Correction(
        source=request.source,
        task_type=request.task_type,
        prompt=request.prompt,
        response=request.response,
        correction=request.correction,
        label=request.label if request.HasField("label") else None,
        request_id=request_id(request.request_id),
        principal=principal,
    )


def order(number: int) -> Order:
    """Return the order of candidates in review; unspecified is that of the file. Raises InvalidField."""
    by = any_order(number)
    if by in REVIEW_ORDERS:
        raise InvalidField("order", "must not be by review: nothing in review has been reviewed")
    return by


def any_order(number: int) -> Order:
    """Return the order of candidates of any status; unspecified is that of the file. Raises InvalidField."""
    return known("order", ORDERS, number or pb.ORDER_FILE, "must be a value of Order")


def candidate_filter(request: pb.CandidateFilter) -> CandidateFilter:
    """Return the filter, wherever it stands; its field is always called `filter`. Raises InvalidField."""
    for bound in ("min_quality_score", "max_quality_score"):
        if math.isnan(getattr(request, bound)):
            raise InvalidField(f"filter.{bound}", "must be a number")
    categories = short_list("filter.failure_categories", request.failure_categories)
    return CandidateFilter(
        task_types=strings("filter.task_types", request.task_types),
        model_names=strings("filter.model_names", request.model_names),
        sources=strings("filter.sources", request.sources),
        benchmark_run_ids=strings("filter.benchmark_run_ids", request.benchmark_run_ids),
        failure_categories=tuple(
            _category(f"filter.failure_categories[{i}]", number).value for i, number in enumerate(categories)
        ),
        labels=strings("filter.labels", request.labels),
        prompt_digests=_prompt_digests(request.prompt_digests),
        min_quality_score=request.min_quality_score if request.HasField("min_quality_score") else None,
        max_quality_score=request.max_quality_score if request.HasField("max_quality_score") else None,
    )


def candidate_id(id: str) -> str:
    """Return an id as every record has it. Raises InvalidField."""
    if not is_valid_id(id):
        raise InvalidField("id", f"must have 1 to {MAX_ID_CHARACTERS} characters, none of them NUL")
    return id


def run_id(run_id: str) -> str:
    """Return a run's directory name, which cannot lead out of the results directory. Raises InvalidField."""
    at_most("run_id", run_id, MAX_STRING)
    if not is_run_name(run_id):
        raise InvalidField("run_id", "must be the name of a run, without path separators, '..' or NUL, and not '.'")
    return run_id


def on_conflict(number: int) -> OnConflict:
    """Return what an import does at a conflict; unspecified means to skip. Raises InvalidField."""
    return known("on_conflict", {0: OnConflict.SKIP, **ON_CONFLICTS}, number, "must be a value of OnConflict")


def bench_results_dir(request: pb.SetConfigRequest) -> str:
    """Return the configured directory of runs: absolute, or empty for none. Raises InvalidField."""
    if not request.HasField("config"):
        raise InvalidField("config", "is required")
    field, directory = "config.bench_results_dir", request.config.bench_results_dir
    at_most(field, directory, MAX_STRING)
    if directory and (not os.path.isabs(directory) or not directory.isprintable()):
        raise InvalidField(field, "must be an absolute path of printable characters, or empty for none")
    return directory


def item_count(request: pb.StreamIngestRequest) -> None:
    """Refuse a message that has too many items. Raises InvalidField."""
    if len(request.items) > MAX_ITEMS:
        raise InvalidField("items", f"must be at most {MAX_ITEMS:,} a message; send the rest in the next one")


def snapshot_name(field: str, name: str) -> str:
    """Return a snapshot's name. Raises InvalidField."""
    if not NAME.fullmatch(name):
        problem = (
            "must have 1 to 100 characters: lower-case letters, digits, '.', '_', '-', the first a letter or digit"
        )
        raise InvalidField(field, problem)
    return name


def _held_by(request: pb.QueueRequest) -> HeldBy:
    state = known("claims", CLAIM_STATES, request.claims or pb.CLAIM_STATE_ANY, "must be a value of ClaimState")
    at_most("reviewer", request.reviewer, MAX_STRING)
    if state is ClaimState.MINE:
        not_blank("reviewer", request.reviewer)
    return HeldBy(state, request.reviewer)


def _expected_revision(request: pb.SubmitRequest | pb.UndoRequest) -> int | None:
    not_negative("expected_revision", request.expected_revision)
    return request.expected_revision if request.HasField("expected_revision") else None


def _snapshot(request: pb.StreamExportRequest) -> str:
    if request.snapshot and request.at_revision:
        raise InvalidField("snapshot", "must be left out together with at_revision")
    return snapshot_name("snapshot", request.snapshot) if request.snapshot else ""


def _split(request: pb.Split) -> Split:
    if request.name not in (pb.SPLIT_NAME_TRAIN, pb.SPLIT_NAME_VALIDATION):
        raise InvalidField("split.name", "must be SPLIT_NAME_TRAIN or SPLIT_NAME_VALIDATION")
    if not 0 <= request.validation_fraction <= 1:
        raise InvalidField("split.validation_fraction", "must be from 0 to 1")
    by = known("split.by", SPLIT_BYS, request.by or pb.SPLIT_BY_ID, "must be a value of SplitBy")
    return Split(request.name == pb.SPLIT_NAME_VALIDATION, request.validation_fraction, request.seed, by)


def _prompt_digests(values: Iterable[str]) -> tuple[str, ...]:
    digests = short_list("filter.prompt_digests", values)
    for i, digest in enumerate(digests):
        if PROMPT_DIGEST.fullmatch(digest) is None:
            raise InvalidField(
                f"filter.prompt_digests[{i}]", "must be a prompt_digest: 64 lower-case hexadecimal digits"
            )
    return digests


def _category(field: str, number: int) -> FailureCategory:
    return known(field, CATEGORIES, number, "must be a value of FailureCategory other than unspecified")
