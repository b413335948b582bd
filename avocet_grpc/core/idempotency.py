"""Request ids: the same id for the same call with the same content gets the first answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import Correction, Decision, UndoRequest
from avocet_grpc.core.ports.ledger import Remembered, Transaction

Identified = Decision | UndoRequest | Correction

ADDED_LATER = ("corrected_message",)
"""Fields that an earlier version did not have. Unset, they leave the digest as that version made it."""


def digest(method: str, request: Identified) -> bytes:
    """16 bytes of the method and all that its caller sent; none for a call without a request_id."""
    if not request.request_id:
        return b""
    content = asdict(request)
    for field in ADDED_LATER:
        if content.get(field, "") is None:
            del content[field]
    text = json.dumps([method, content], sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()


def recall(tx: Transaction, request_id: str, content: bytes) -> dict[str, Any] | None:
    """The first answer to this request_id, None where it is new. Raises InvalidField for other content."""
    if not request_id:
        return None
    remembered = tx.remembered(request_id)
    if remembered is None:
        return None
    if remembered.digest != content:
        raise InvalidField("request_id", "was used before with another call or other content; use a new one")
    answer: dict[str, Any] = json.loads(remembered.answer)
    return answer


def keep(tx: Transaction, request_id: str, content: bytes, answer: dict[str, Any]) -> None:
    """Remember the answer, where the caller gave a request_id."""
    if request_id:
        tx.remember(request_id, Remembered(content, json.dumps(answer)))
