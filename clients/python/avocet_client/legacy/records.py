"""Raw records, and pages of any size, of the service's candidates."""

from __future__ import annotations

import json
from typing import Any

from avocet_client.aio_client import AsyncCorrectionsClient
from avocet_client.render import message_dict
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import category_word, status_word

MOST_PER_PAGE = 500
MOST_PAGE = 2**31 - 1
_KEYS = (
    "id", "source", "benchmark_run_id", "timestamp", "status", "prompt_messages", "model_response",
    "corrected_response", "quality_score", "failure_reason", "task_id", "task_type", "task_name", "model_id",
    "model_name", "node_id", "gpu_id", "tokens_per_sec", "label", "failure_category",
)  # fmt: skip


async def queue_page(client: AsyncCorrectionsClient, page: int, per_page: int) -> tuple[list[Any], int]:
    """Return the raw records of a page, and how many there are on all pages.

    A page of the service has at most 500 candidates and 3 MB, so a larger one is put together of several.
    """
    start = (max(page, 1) - 1) * per_page
    step = _largest_divisor(start, min(per_page, MOST_PER_PAGE) or 1)
    answer = await client.queue(page=min(start // step + 1, MOST_PAGE), per_page=step)
    items, total = list(answer.items), answer.total
    while answer.next_page_token and len(items) < per_page:
        left = min(per_page - len(items), MOST_PER_PAGE)
        answer = await client.queue(per_page=left, page_token=answer.next_page_token)
        items += answer.items
    return [raw_record(item) for item in items[:per_page]], total


def raw_record(candidate: pb.Candidate) -> dict[str, Any]:
    """Return the candidate as its record has it: the same values under the same keys; an absent key is null."""
    record = {name: _value(candidate, name) for name in _KEYS}
    return record | (json.loads(candidate.extra_json) if candidate.extra_json else {})


def _value(candidate: pb.Candidate, name: str) -> Any:
    if name == "status":
        return status_word(candidate)
    if name == "failure_category":
        return category_word(candidate)
    if name == "prompt_messages":
        return [message_dict(message) for message in candidate.prompt_messages]
    descriptor = candidate.DESCRIPTOR.fields_by_name[name]
    if descriptor.has_presence and not candidate.HasField(name):  # type: ignore[arg-type]
        return None
    value = getattr(candidate, name)
    return None if value == "" else value


def _largest_divisor(number: int, most: int) -> int:
    return next(divisor for divisor in range(most, 0, -1) if number % divisor == 0)
