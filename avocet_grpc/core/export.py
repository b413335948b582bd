"""Which records are training examples, and which of them one export sends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.forms import unexportable_reason
from avocet_grpc.core.model import CandidateFilter, ExportSelection, Record, Split, SplitBy, Status
from avocet_grpc.core.ports.exports import ExportReader
from avocet_grpc.core.revisions import check_kept, check_named
from avocet_grpc.core.snapshots import get_snapshot
from avocet_grpc.core.tokens import binding_of, decode_token, encode_token, filter_binding, is_count

HASH_BITS = 63


@dataclass(frozen=True, slots=True)
class ExportCursor:
    """Where an export begins, and how many examples it will send."""

    selection: ExportSelection
    after_key: int
    total: int


def is_exportable(record: Record) -> bool:
    """Return True for an approved record whose prompt can be read and whose correction is text that is not blank."""
    return record.get("status") == Status.APPROVED.value and unexportable_reason(record) is None


def shard_hash(id: str) -> int:
    """Return a stable number of 63 bits; an example's shard is this modulo the count."""
    return _hash(f"shard\0{id}")


def in_split(split: Split, id: str, prompt_digest: bytes | None, task_id: str | None) -> bool:
    """Return True if the example belongs to the split's part, by another stable hash than the shards'."""
    return are_in_split(split, (kept_together(split.by, id, prompt_digest, task_id),))[0]


def are_in_split(split: Split, ids: Iterable[bytes]) -> list[bool]:
    """Return `in_split` of many examples that go by their ids, each in UTF-8."""
    prefix, bound = _bound_of(split.seed, split.validation_fraction)
    wanted = split.validation
    return [(sha256(prefix + id).digest() < bound) == wanted for id in ids]


def split_hashes(seed: int, texts: Iterable[bytes]) -> bytes:
    """Return the first 8 bytes of the hash of each text, joined: what `split_bound` is compared with."""
    prefix = f"split\0{seed}\0".encode()
    return b"".join([sha256(prefix + text).digest()[:8] for text in texts])


def split_bound(split: Split) -> int:
    """Return the first hash, as a number of 64 bits, that is too large for the validation part."""
    return int.from_bytes(_bound_of(split.seed, split.validation_fraction)[1], "big")


def kept_together(by: SplitBy, id: str, prompt_digest: bytes | None, task_id: str | None) -> bytes:
    """Return the text whose hash tells the side of an example. Without a prompt, or without a task, it is the id."""
    if by is SplitBy.PROMPT and prompt_digest:
        return f"prompt\0{prompt_digest.hex()}".encode()
    if by is SplitBy.TASK and task_id:
        return f"task\0{task_id}".encode("utf-8", "surrogatepass")
    return id.encode("utf-8", "surrogatepass")


@lru_cache(maxsize=64)
def _bound_of(seed: int, validation_fraction: float) -> tuple[bytes, bytes]:
    """Return what the hashed texts begin with, and the first digest that is too large for the validation part.

    A hash is the digest's first 63 bits; as a float, and divided by 2**63, it must be below the fraction.
    """
    first = bisect_left(range((1 << HASH_BITS) - 1), validation_fraction * (1 << HASH_BITS), key=float)
    return f"split\0{seed}\0".encode(), (first << 1).to_bytes(8, "big")


def open_export(
    reader: ExportReader,
    *,
    filter: CandidateFilter,
    shard_index: int,
    shard_count: int,
    split: Split | None,
    at_revision: int,
    since_revision: int,
    resume_token: str,
    unique_prompts: bool = False,
    snapshot: str = "",
) -> ExportCursor:
    """Resolve and pin the revision, or continue where a token left off.

    Raises InvalidField for a revision to come or a foreign token, RevisionExpired for one not kept any more or of an
    earlier ledger, SnapshotNotFound.
    """
    now = reader.revision()
    if at_revision > now:
        raise InvalidField("at_revision", f"is still to come; the newest revision is {now}")
    if since_revision:
        check_named(reader, "since_revision", since_revision)
    chosen = ExportSelection(now, filter, since_revision, shard_index, shard_count, split, unique_prompts, snapshot)
    binding = _binding(chosen)
    after_key = 0
    if resume_token:
        revision, after_key = decode_token("export", binding, resume_token, "resume_token", (is_count, is_count))
        if at_revision and at_revision != revision:
            raise InvalidField("resume_token", "belongs to another at_revision; leave one of the two out")
        oldest = reader.snapshots.oldest_resumable()
    else:
        revision = get_snapshot(reader, snapshot).revision if snapshot else at_revision or now
        oldest = reader.first_revision()
    check_kept(reader, revision, 0 if reader.snapshots.pins(revision) else oldest)
    selection = replace(chosen, revision=revision)
    return ExportCursor(selection, after_key, reader.export_total(selection, after_key))


class ResumeTokens:
    """The tokens of one export."""

    def __init__(self, selection: ExportSelection) -> None:
        self._binding, self._revision = _binding(selection), selection.revision

    def after(self, key: int) -> str:
        """Return the token that continues after the example with this key."""
        return encode_token("export", self._binding, [self._revision, key])


def _binding(selection: ExportSelection) -> str:
    """Return what binds a resume token: all of the selection but its revision, which the token has itself."""
    return _binding_of_any(replace(selection, revision=0), selection.snapshot)


@lru_cache(maxsize=64)
def _binding_of_any(s: ExportSelection, snapshot: str) -> str:
    split = asdict(s.split) if s.split else None
    if split and s.split and s.split.by is SplitBy.ID:
        del split["by"]  # tokens of versions without it stay good
    bound = [filter_binding(s.filter), s.shard_index, s.shard_count, split, s.since_revision]
    # What a token of an earlier version could not have stands at the end, and only if it is asked for.
    return binding_of([*bound, *([True] if s.unique_prompts else []), *([snapshot] if snapshot else [])])


def _hash(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
