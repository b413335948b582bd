"""What the fields of requests are held to, as the service does it."""

from __future__ import annotations

import json
import math
import os.path
import re
from collections.abc import Collection, Sequence
from typing import Any

from avocet_client.testing.lines import MAX_ID, is_deeper, is_id
from avocet_client.testing.refusals import invalid
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import ACTIONS, CATEGORIES, CHANGE_ACTIONS, ORDERS, SPLIT_BYS, STATUSES

MAX_TEXT = 4_000_000
MAX_STRING = 1_000
MAX_MESSAGE_NESTING = 100
REVIEW_ORDERS = (pb.ORDER_REVIEWED, pb.ORDER_REVIEWED_DESC)
SNAPSHOT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}", re.ASCII)


def at_most(field: str, value: str, limit: int = MAX_STRING) -> None:
    if len(value) > limit:
        raise invalid(field, f"must have at most {limit:,} characters; it has {len(value):,}")


def not_blank(field: str, value: str) -> None:
    if not value.strip():
        raise invalid(field, "must not be blank")


def not_negative(request: Any, *fields: str) -> None:
    for field in fields:
        if getattr(request, field) < 0:
            raise invalid(field, "must not be negative")


def in_range(field: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise invalid(field, f"must be from {least:,} to {most:,}")
    return value


def known(field: str, value: int, numbers: Collection[int]) -> None:
    if value not in numbers:
        raise invalid(field, "must be a value of its enum")


def page_size(field: str, size: int, default: int) -> int:
    if size < 0:
        raise invalid(field, "must not be negative")
    return min(size, 500) or default


def candidate_id(id: str) -> None:
    if not is_id(id):
        raise invalid("id", f"must have 1 to {MAX_ID} characters, none of them NUL")


def request_id(value: str) -> None:
    at_most("request_id", value, 128)


def filter(value: pb.CandidateFilter) -> None:
    """Check a filter, wherever it stands."""
    for bound in ("min_quality_score", "max_quality_score"):
        if math.isnan(getattr(value, bound)):
            raise invalid(f"filter.{bound}", "must be a number")
    for i, category in enumerate(value.failure_categories):
        known(f"filter.failure_categories[{i}]", category, CATEGORIES.values())
    for i, digest in enumerate(value.prompt_digests):
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            raise invalid(f"filter.prompt_digests[{i}]", "must be a prompt_digest: 64 lower-case hexadecimal digits")


def order(value: int, *, reviewed: bool = False) -> None:
    known("order", value or pb.ORDER_FILE, ORDERS.values())
    if value in REVIEW_ORDERS and not reviewed:
        raise invalid("order", "must not be by review: nothing in review has been reviewed")


def submit(request: pb.SubmitRequest) -> None:
    """Check a decision."""
    known("action", request.action, ACTIONS.values())
    if request.action == pb.ACTION_CORRECT:
        if request.HasField("corrected_message"):
            corrected_message(request)
        else:
            at_most("corrected_response", request.corrected_response, MAX_TEXT)
            not_blank("corrected_response", request.corrected_response)
    at_most("reviewer", request.reviewer)
    at_most("lease_id", request.lease_id, 64)
    not_negative(request, "expected_revision")
    candidate_id(request.id)
    if request.failure_category:
        known("failure_category", request.failure_category, CATEGORIES.values())
    request_id(request.request_id)


def corrected_message(request: pb.SubmitRequest) -> None:
    """Check a correction that is a message."""
    message, field = request.corrected_message, "corrected_message"
    if request.corrected_response:
        raise invalid("corrected_response", "must be left out together with corrected_message")
    if message.role not in ("", "assistant"):
        raise invalid(f"{field}.role", "must be assistant, or left out")
    if message.content_json:
        raise invalid(f"{field}.content_json", "must be left out; the text goes to content")
    extra = _strict_object(message.extra_json or "{}")
    if extra is None or {"role", "content"} & extra.keys():
        raise invalid(f"{field}.extra_json", "must be one object in strict JSON, without role and content")
    calls = extra.get("tool_calls")
    if "tool_calls" in extra and not (isinstance(calls, list) and calls and all(isinstance(c, dict) for c in calls)):
        raise invalid(f"{field}.extra_json", "must have tool_calls as a list of objects that is not empty")
    if not message.content.strip() and not calls:
        raise invalid(field, "must have content that is not blank, or tool_calls in extra_json")


def ingest(request: pb.IngestRequest) -> None:
    """Check a correction of a sibling."""
    limits = {"source": MAX_STRING, "task_type": MAX_STRING, "prompt": MAX_TEXT, "correction": MAX_TEXT}
    for field, limit in limits.items():
        at_most(field, getattr(request, field), limit)
        not_blank(field, getattr(request, field))
    at_most("response", request.response, MAX_TEXT)
    at_most("label", request.label)
    request_id(request.request_id)


def export(request: pb.StreamExportRequest) -> None:
    """Check which examples are asked for."""
    in_range("batch_size", request.batch_size, 0, 1_000)
    not_negative(request, "shard_count", "at_revision", "since_revision")
    count = request.shard_count or 1
    if not 0 <= request.shard_index < count:
        raise invalid("shard_index", f"must be from 0 to shard_count - 1, which is {count - 1}")
    filter(request.filter)
    if request.HasField("split"):
        known("split.name", request.split.name, (pb.SPLIT_NAME_TRAIN, pb.SPLIT_NAME_VALIDATION))
        if not 0 <= request.split.validation_fraction <= 1:
            raise invalid("split.validation_fraction", "must be from 0 to 1")
        known("split.by", request.split.by or pb.SPLIT_BY_ID, SPLIT_BYS.values())
    if request.snapshot and request.at_revision:
        raise invalid("snapshot", "must be left out together with at_revision")
    if request.snapshot:
        snapshot_name(request.snapshot, "snapshot")


def statuses(values: Sequence[int]) -> None:
    for i, value in enumerate(values):
        known(f"statuses[{i}]", value, (*STATUSES.values(), pb.CANDIDATE_STATUS_UNSPECIFIED))


def actions(values: Sequence[int]) -> None:
    for i, value in enumerate(values):
        known(f"actions[{i}]", value, CHANGE_ACTIONS.values())


def snapshot_name(name: str, field: str = "name") -> None:
    if SNAPSHOT_NAME.fullmatch(name) is None:
        raise invalid(
            field,
            "must have 1 to 100 characters: lower-case letters, digits, '.', '_', '-', the first a letter or digit",
        )


def run_id(value: str) -> None:
    if not value or value == "." or ".." in value or any(c in value for c in "/\\\0"):
        raise invalid("run_id", "must be the name of a run, without path separators, '..' or NUL, and not '.'")


def config(request: pb.SetConfigRequest) -> None:
    if not request.HasField("config"):
        raise invalid("config", "is required")
    value = request.config.bench_results_dir
    if value and (not os.path.isabs(value) or not value.isprintable()):
        raise invalid("config.bench_results_dir", "must be an absolute path of printable characters, or empty for none")


def _strict_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object of the text, None if it holds anything else, or what strict JSON lacks."""
    if is_deeper(text, MAX_MESSAGE_NESTING):
        return None
    try:
        value = json.loads(text)
        # Refuses NaN, numbers beyond the range of a double, and lone surrogates.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
