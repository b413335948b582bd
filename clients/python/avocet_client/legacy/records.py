"""Raw records, and pages of any size, of the service's candidates."""

from __future__ import annotations

import json
import math
from typing import Any

from avocet_client.aio_client import AsyncCorrectionsClient

MOST_PER_PAGE = 500
MOST_PAGE = 2**31 - 1


async def queue_page(client: AsyncCorrectionsClient, page: int, per_page: int) -> tuple[list[Any], int]:
    """Return the raw records of a page, and how many there are on all pages.

    A page of the service has at most 500 candidates and 3 MB, so a larger one is put together of several.
    """
    start = (max(page, 1) - 1) * per_page
    step = _largest_divisor(start, min(per_page, MOST_PER_PAGE) or 1)
    answer = await client.queue(page=min(start // step + 1, MOST_PAGE), per_page=step, include_record=True)
    items, total = list(answer.items), answer.total
    while answer.next_page_token and len(items) < per_page:
        left = min(per_page - len(items), MOST_PER_PAGE)
        answer = await client.queue(per_page=left, page_token=answer.next_page_token, include_record=True)
        items += answer.items
    return [_read(item.record_json) for item in items[:per_page]], total


def _read(text: str) -> Any:
    """Return a record with null for NaN and infinities: to look for them later would need a stack as deep again."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _largest_divisor(number: int, most: int) -> int:
    return next(divisor for divisor in range(most, 0, -1) if number % divisor == 0)
