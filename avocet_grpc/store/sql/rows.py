"""Rows of the ledger's tables by name, and how a record becomes one."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from avocet_grpc.core.forms import unexportable_reason
from avocet_grpc.core.model import Candidate, File, ParsedLine, Record, Source, Status
from avocet_grpc.core.record import content_of, load, record_in

NEVER = 2**63 - 1
"""`removed_revision` of an example that is still approved."""
_IN_REVIEW, _APPROVED = Status.NEEDS_REVIEW.value, Status.APPROVED.value
LONGEST_TIME = 500
"""Characters of a time by which records are ordered; no engine's index holds fewer."""


class RecordRow(NamedTuple):
    """A record of one file, or the tombstone of one: it does not live, and has no digest.

    Indexes ask for `lives`, which decisions leave alone, so that they need not look at these indexes. `made_by` is a
    `core.model.Source`, and `unexportable` is why an approved record is not exported, a `core.forms.Unexportable`.
    """

    key: int
    file: int
    id: str
    status: str | None
    task_type: str | None
    model_name: str | None
    source: str | None
    benchmark_run_id: str | None
    failure_category: str | None
    label: str | None
    task_id: str | None
    quality_score: float | None
    recorded_at: str | None
    reviewed_at: str | None
    prompt_digest: bytes | None
    lives: int
    queued: int
    exported: int
    unexportable: str | None
    revision: int
    made_by: int
    digest: bytes | None
    removed_revision: int
    facet: int
    body: int


class BodyRow(NamedTuple):
    """The line of a living record, without its newline: how many bytes it has, and what is stored for it.

    `key` is the record's. The approved record of an id that has the same line as the candidate has no row of its own:
    its `body` is the candidate's key.
    """

    key: int
    size: int
    raw: bytes


class DictionaryRow(NamedTuple):
    """What lines have in common, for their compression; without content if they had nothing."""

    number: int
    content: bytes


class ExampleRow(NamedTuple):
    """An encoded training example, as exports see it from one revision until another."""

    key: int
    approved_revision: int
    removed_revision: int
    id: str
    shard_hash: int
    task_type: str | None
    model_name: str | None
    source: str | None
    benchmark_run_id: str | None
    failure_category: str | None
    label: str | None
    task_id: str | None
    quality_score: float | None
    prompt_digest: bytes | None
    encoded: bytes


class PastRow(NamedTuple):
    """A content that a record had before, that was overruled, or that was removed. `revision` is when it became so."""

    id: str
    file: int
    digest: bytes
    revision: int
    made_by: int


class HistoryRow(NamedTuple):
    """A `core.ports.ledger.HistoryEntry`, without the number that the table gives."""

    revision: int
    file: int
    id: str
    action: str
    actor: str
    at: str
    status_before: str | None
    status_after: str | None
    change: str | None
    made_by: int


class RequestRow(NamedTuple):
    """A request_id and its answer; `at` is Unix time in seconds."""

    principal: str
    request_id: str
    digest: bytes
    answer: str
    at: int


class CounterRow(NamedTuple):
    """How many records count under a value."""

    name: str
    value: str
    n: int


class FacetRow(NamedTuple):
    """How many living records of a file have these values; `combination` is a digest of all of them.

    `facet` stands for the values that a filter looks at, as in the records.
    """

    combination: bytes
    facet: int
    file: int
    status: str | None
    task_type: str | None
    model_name: str | None
    source: str | None
    benchmark_run_id: str | None
    failure_category: str | None
    label: str | None
    queued: int
    exported: int
    unexportable: str | None
    n: int


class ReportRow(NamedTuple):
    """The mirror's last report on a file."""

    file: int
    level_revision: int
    level_key: int
    malformed: int
    duplicate_ids: int
    pending: int
    behind_since: float
    clean: int


class HeadRow(NamedTuple):
    """The one row that each commit locks: the order of all changes.

    `first_revision` is the oldest at which exports are kept; nothing up to `pruned_revision` can be followed any more.
    """

    revision: int
    next_key: int
    mirror_epoch: int
    incarnation: str
    first_revision: int
    pruned_revision: int


class Stored(NamedTuple):
    """A record with its line; `raw` is None for a tombstone, `loaded` is the record if it was read already."""

    row: RecordRow
    raw: bytes | None
    loaded: Record | None = None

    @property
    def record(self) -> Record:
        """The record of a living row."""
        return load(self.raw or b"") if self.loaded is None else self.loaded

    def as_candidate(self) -> Candidate:
        """Return the record as the core knows it."""
        return Candidate(self.row.key, self.raw or b"", self.row.revision, self.loaded, self.row.prompt_digest)


def record_row(
    key: int,
    file: File,
    line: ParsedLine,
    *,
    prompt_digest: bytes | None,
    revision: int,
    made_by: Source,
    removed_revision: int = 0,
    longest: int | None = None,
) -> RecordRow:
    """Return the row of a living record, whose line is one.

    `longest` is how many characters an index can hold, `Dialect.longest_indexed`.
    """
    c = line.columns
    if c is None:
        raise ValueError("a malformed line is not a record")
    exported, unexportable = exportability(file, record_in(line))
    # By position: names would take three times as long, for each record.
    row = RecordRow(
        key,
        int(file),
        c.id,
        c.status,
        c.task_type,
        c.model_name,
        c.source,
        c.benchmark_run_id,
        c.failure_category,
        c.label,
        c.task_id,
        c.quality_score,
        c.timestamp,
        c.reviewed_at,
        prompt_digest,
        1,
        int(file is File.CANDIDATES and c.status == _IN_REVIEW),
        exported,
        unexportable,
        revision,
        int(made_by),
        content_of(line),
        removed_revision,
        facet_of(c.task_type, c.model_name, c.source, c.benchmark_run_id, c.failure_category, c.label),
        key,
    )
    return fitted(row, longest)


def fitted(row: RecordRow, longest: int | None) -> RecordRow:
    """Return the row as an engine keeps it whose indexes hold `longest` characters.

    Times have no more than LONGEST_TIME in any engine: a page token holds the one at which its page ended.
    """
    # A generator would take most of the time of a row.
    if (
        len(row.status or "") <= LONGEST_TIME
        and len(row.recorded_at or "") <= LONGEST_TIME
        and len(row.reviewed_at or "") <= LONGEST_TIME
    ):
        return row
    return row._replace(
        status=_cut(row.status, longest),
        recorded_at=_cut(row.recorded_at, LONGEST_TIME),
        reviewed_at=_cut(row.reviewed_at, LONGEST_TIME),
    )


FACET = ("task_type", "model_name", "source", "benchmark_run_id", "failure_category", "label")
"""The values that a filter looks at."""


@lru_cache(maxsize=4096)
def facet_of(*values: str | None) -> int:
    """Return a number of 63 bits that stands for the values that a filter looks at.

    Two sets of values could share it: queries that go by it compare the values too.
    """
    return xxh3_64_intdigest(json.dumps(values)) >> 1


def _cut(text: str | None, longest: int | None) -> str | None:
    return None if text is None else text[:longest]


def indexed(text: str, longest: int | None) -> str:
    """Return a text that stands for this one where an index has to hold it. No other text gives the same."""
    if longest is None or len(text) <= longest:
        return text
    return text[:longest] + xxh3_128_hexdigest(text.encode())


def tombstone(row: RecordRow, revision: int, made_by: int) -> RecordRow:
    """Return what is left of a record that was removed at this revision."""
    return row._replace(
        lives=0,
        queued=0,
        exported=0,
        unexportable=None,
        prompt_digest=None,
        revision=revision,
        made_by=made_by,
        digest=None,
        removed_revision=revision,
        body=row.key,
    )


def exportability(file: File, record: Record) -> tuple[int, str | None]:
    """Return the fields `exported` and `unexportable` of a record's row."""
    if file is not File.APPROVED or record.get("status") != _APPROVED:
        return 0, None
    reason = unexportable_reason(record)
    return int(reason is None), None if reason is None else reason.value


def example_row(row: RecordRow, shard_hash: int, encoded: bytes) -> ExampleRow:
    """Return the open example of an exported record."""
    return ExampleRow(
        row.key,
        row.revision,
        NEVER,
        row.id,
        shard_hash,
        row.task_type,
        row.model_name,
        row.source,
        row.benchmark_run_id,
        row.failure_category,
        row.label,
        row.task_id,
        row.quality_score,
        row.prompt_digest,
        encoded,
    )


def selected(kind: Any, prefix: str = "") -> str:
    """Return the columns of a row type, for a SELECT; `prefix` is the table's alias with its dot."""
    return ", ".join(f"{prefix}{name}" for name in kind._fields)
