"""Tokens that continue a list: opaque, versioned, bound to a hash of the request they belong to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import asdict
from typing import Any

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import CandidateFilter

VERSION = 1
CHECK_BYTES = 8


def filter_binding(filter: CandidateFilter) -> dict[str, Any]:
    """The filter for `binding_of`: tokens of versions without `prompt_digests` stay good."""
    stated = asdict(filter)
    if not filter.prompt_digests:
        del stated["prompt_digests"]
    return stated


def binding_of(request: Any) -> str:
    """What binds a token to a request of these JSON values."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()


def encode_token(kind: str, binding: str, state: Any) -> str:
    """A token of `state` (JSON values) that `decode_token` accepts with the same kind and binding only."""
    payload = json.dumps([VERSION, kind + binding, state], separators=(",", ":")).encode("ascii")
    return base64.urlsafe_b64encode(hashlib.sha256(payload).digest()[:CHECK_BYTES] + payload).decode("ascii")


def decode_token(kind: str, binding: str, token: str, field: str) -> Any:
    """The token's state. Raises InvalidField for one that is damaged, of another version, or of another request."""
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidField(field, "is not a token of this service; pass it on unchanged") from error
    check, payload = data[:CHECK_BYTES], data[CHECK_BYTES:]
    if hashlib.sha256(payload).digest()[:CHECK_BYTES] != check:
        raise InvalidField(field, "is damaged or cut short; pass it on unchanged")
    version, bound, state = json.loads(payload)
    if version != VERSION:
        raise InvalidField(field, "is of another version of the service; start again without it")
    if bound != kind + binding:
        raise InvalidField(field, "belongs to another request; use it with the request that it came from")
    return state
