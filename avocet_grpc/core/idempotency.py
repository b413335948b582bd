"""Request ids: the same id for the same call with the same content gets the first answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import Field, asdict
from typing import Any, ClassVar, Protocol

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.ports.ledger import Remembered, Transaction


class Identified(Protocol):
    """A request, as a dataclass, that may have a request_id; `principal` is the name of the caller's token."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def request_id(self) -> str: ...

    @property
    def principal(self) -> str: ...


SECRET_NAME = "ingestion-secret"
"""The principal of a caller who bears the ingestion secret instead of a token; no new token may have this name."""

# A later version must find answers of an earlier one, so a new field is left out while it is unset.
FIRST_FIELDS = frozenset(
    {
        "id", "action", "corrected_response", "failure_category", "reviewer", "request_id", "expected_revision",
        "source", "task_type", "prompt", "response", "correction", "label",
    }
)  # fmt: skip


def digest(method: str, request: Identified) -> bytes:
    """Return 16 bytes of the method and all that its caller sent; none for a call without a request_id."""
    if not request.request_id:
        return b""
    sent = {name: value for name, value in asdict(request).items() if name in FIRST_FIELDS or value}
    sent.pop("principal", None)
    text = json.dumps([method, sent], sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()


def recall(tx: Transaction, request: Identified, content: bytes) -> dict[str, Any] | None:
    """Return the first answer to the request's id, None if the id is new. Raises InvalidField for other content."""
    if not request.request_id:
        return None
    remembered = tx.remembered(_space(request), request.request_id)
    if remembered is None:
        return None
    if remembered.digest != content:
        raise InvalidField("request_id", "was used before with another call or other content; use a new one")
    answer: dict[str, Any] = json.loads(remembered.answer)
    return answer


def keep(tx: Transaction, request: Identified, content: bytes, answer: dict[str, Any]) -> None:
    """Remember the answer, if the caller gave a request_id."""
    if request.request_id:
        tx.remember(_space(request), request.request_id, Remembered(content, json.dumps(answer)))


def _space(request: Identified) -> str:
    """Return whose request_ids these are: each token has its own; callers without one share those of the secret."""
    return "" if request.principal == SECRET_NAME else request.principal
