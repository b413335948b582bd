"""Which records are training examples, and which of them one export sends."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import lru_cache

from avocet_grpc.core.errors import InvalidField, RevisionExpired
from avocet_grpc.core.forms import unexportable_reason
from avocet_grpc.core.model import CandidateFilter, ExportSelection, Record, Split, Status
from avocet_grpc.core.ports.ledger import Reader
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token

HASH_BITS = 63


@dataclass(frozen=True, slots=True)
class ExportCursor:
    """Where an export begins, and how many examples it will send."""

    selection: ExportSelection
    after_key: int
    total: int


def is_exportable(record: Record) -> bool:
    """True for an approved record whose prompt can be read and whose correction is text that is not blank."""
    return record.get("status") == Status.APPROVED.value and unexportable_reason(record) is None


def shard_hash(id: str) -> int:
    """A stable number of 63 bits; an example's shard is this modulo the count."""
    return _hash(f"shard\0{id}")


def in_split(id: str, split: Split) -> bool:
    """True where the example belongs to the split's part, by another stable hash than the shards'."""
    point = _hash(f"split\0{split.seed}\0{id}") / float(1 << HASH_BITS)
    return (point < split.validation_fraction) == split.validation


def open_export(
    reader: Reader,
    *,
    filter: CandidateFilter,
    shard_index: int,
    shard_count: int,
    split: Split | None,
    at_revision: int,
    since_revision: int,
    resume_token: str,
) -> ExportCursor:
    """Resolve and pin the revision, or continue where a token left off.

    Raises InvalidField for a revision to come or a foreign token, RevisionExpired for one that is no longer kept.
    """
    now = reader.revision()
    if at_revision > now:
        raise InvalidField("at_revision", f"is still to come; the newest revision is {now}")
    binding = _binding(filter, shard_index, shard_count, split, since_revision)
    revision, after_key = at_revision or now, 0
    if resume_token:
        revision, after_key = decode_token("export", binding, resume_token, "resume_token")
        if at_revision and at_revision != revision:
            raise InvalidField("resume_token", "belongs to another at_revision; leave one of the two out")
    if not reader.first_revision() <= revision <= now:
        raise RevisionExpired("the revision is no longer kept")
    selection = ExportSelection(revision, filter, since_revision, shard_index, shard_count, split)
    return ExportCursor(selection, after_key, reader.export_total(selection, after_key))


def resume_token(selection: ExportSelection, after_key: int) -> str:
    """The token that continues after the example with this key."""
    s = selection
    binding = _binding(s.filter, s.shard_index, s.shard_count, s.split, s.since_revision)
    return encode_token("export", binding, [s.revision, after_key])


@lru_cache(maxsize=64)
def _binding(
    filter: CandidateFilter, shard_index: int, shard_count: int, split: Split | None, since_revision: int
) -> str:
    return binding_of([asdict(filter), shard_index, shard_count, asdict(split) if split else None, since_revision])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
