"""Page and resume tokens: each is bound to what its request asks for, however that is spelled."""

from __future__ import annotations

import base64
import json
from typing import Any

from avocet_client.testing.refusals import invalid
from avocet_client.v1 import corrections_pb2 as pb

UNBOUND = (
    "page", "per_page", "page_size", "page_token", "include_record", "include_candidates", "heartbeat_seconds",
    "resume_token", "batch_size",
)  # fmt: skip
"""Fields that say how much is sent and from where, not what."""


def token_of(request: Any, state: Any) -> str:
    """Return the token of the page behind `state`, bound to the request."""
    return base64.urlsafe_b64encode(json.dumps([_binding(request), state]).encode()).decode()


def state_of(request: Any, field: str = "page_token") -> Any:
    """Return what the request's token holds, None if it has none. Raises INVALID_FIELD for another request's token."""
    token = getattr(request, field)
    if not token:
        return None
    try:
        binding, state = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError):
        raise invalid(field, "is not a token of this service; pass it on unchanged") from None
    if binding != _binding(request):
        raise invalid(field, "belongs to another request; use it with the request that it came from")
    return state


def _binding(request: Any) -> str:
    """Return what a token is bound to: the method's request in one spelling, without its page and its token."""
    bound = type(request)()
    bound.CopyFrom(request)
    fields = bound.DESCRIPTOR.fields_by_name
    for field in UNBOUND:
        if field in fields:
            bound.ClearField(field)
    # What is left out means the default, so a token is good for both spellings.
    if "filter" in fields and not bound.filter.ByteSize():
        bound.ClearField("filter")
    if "order" in fields:
        bound.order = bound.order or pb.ORDER_FILE
    if "claims" in fields:
        bound.claims = bound.claims or pb.CLAIM_STATE_ANY
    if "statuses" in fields:
        bound.statuses[:] = sorted(set(bound.statuses))
    if "shard_count" in fields:
        bound.shard_count = bound.shard_count or 1
    if "split" in fields and bound.HasField("split"):
        bound.split.by = bound.split.by or pb.SPLIT_BY_ID
    text = base64.b64encode(bound.SerializeToString(deterministic=True)).decode()
    return f"{type(request).__name__} {text}"
