"""The nouns of the service; shapes and limits come from `corrections.proto`.

Most are frozen dataclasses. What each line of a file needs is a msgspec struct, which is made in a tenth of the time.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from avocet_grpc.core.counts import added

Record = dict[str, Any]
"""One JSON object of a shared file, as Python's `json` reads it."""


class File(enum.IntEnum):
    """Which of the two shared files a line stands in."""

    CANDIDATES = 0
    APPROVED = 1


class Status(enum.StrEnum):
    """The status words that the service knows; other words are kept, counted, and not queued."""

    NEEDS_REVIEW = "needs_review"
    APPROVED = "approved"
    DISCARDED = "discarded"
    MODEL_REJECTED = "model_rejected"


class FailureCategory(enum.StrEnum):
    """Why an output failed."""

    SCORING_ARTIFACT = "scoring_artifact"
    STYLE_VIOLATION = "style_violation"
    PARTIAL_ANSWER = "partial_answer"
    WRONG_ANSWER = "wrong_answer"
    FORMAT_ERROR = "format_error"
    HALLUCINATION = "hallucination"


class Action(enum.StrEnum):
    """What a reviewer decides."""

    CORRECT = "correct"
    DISCARD = "discard"
    FLAG = "flag"


class ChangeAction(enum.StrEnum):
    """What the history says was done to a record."""

    CORRECT = "correct"
    DISCARD = "discard"
    FLAG = "flag"
    UNDO = "undo"
    INGEST = "ingest"
    IMPORT = "import"
    ADD = "add"
    EDIT = "edit"
    REMOVE = "remove"
    OVERRULE = "overrule"


class Source(enum.IntEnum):
    """Who made a version of a record, or removed the record: this service, or another program by way of the files."""

    SERVICE = 0
    EXTERNAL = 1


class Order(enum.StrEnum):
    """Order of the queue; records without the key come last."""

    FILE = "file"
    TIMESTAMP = "timestamp"
    TIMESTAMP_DESC = "timestamp_desc"
    QUALITY = "quality"
    QUALITY_DESC = "quality_desc"
    REVIEWED = "reviewed"
    REVIEWED_DESC = "reviewed_desc"


REVIEW_ORDERS = frozenset({Order.REVIEWED, Order.REVIEWED_DESC})
"""Orders of candidates of any status alone: nothing in review has been reviewed."""


@dataclass(frozen=True, slots=True)
class CandidateFilter:
    """Lists are ORed inside and ANDed together; empty lists and None ask for nothing."""

    task_types: tuple[str, ...] = ()
    model_names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    benchmark_run_ids: tuple[str, ...] = ()
    failure_categories: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    min_quality_score: float | None = None
    max_quality_score: float | None = None
    prompt_digests: tuple[str, ...] = ()
    """Lower-case hexadecimal digits, as in `Candidate.prompt_digest` of the wire."""

    def __bool__(self) -> bool:
        return self != CandidateFilter()


class Columns(msgspec.Struct, frozen=True, gc=False):
    """What is queried of a record: None if the key is absent or its value is not of the type."""

    id: str
    status: str | None = None
    task_type: str | None = None
    model_name: str | None = None
    source: str | None = None
    benchmark_run_id: str | None = None
    failure_category: str | None = None
    label: str | None = None
    timestamp: str | None = None
    quality_score: float | None = None
    task_id: str | None = None
    reviewed_at: str | None = None


class ParsedLine(msgspec.Struct, frozen=True, gc=False):
    """A line of a shared file, read: `raw` without its newline, `columns` None if it is malformed.

    `digest` is `core.record.digest_of(raw)`. `loaded` and `content` are the record and its content digest once
    they are known: `core.record.record_in` and `content_of` keep them here.
    """

    raw: bytes
    digest: bytes
    columns: Columns | None
    loaded: Record | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """The first line of an id in the candidates file, with the revision that last changed it.

    `loaded` is the record if it was read already. `prompt_digest` is that of its prompt (`core.forms`), None if it was
    not looked up.
    """

    key: int
    raw: bytes
    revision: int
    loaded: Record | None = field(default=None, compare=False, repr=False)
    prompt_digest: bytes | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a queue page ended: the order's value (None: the records without it) and the line's key."""

    value: str | float | None
    key: int


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One candidate of a queue page and its position."""

    candidate: Candidate
    position: Position


ANSWER_BYTES = 3_000_000
"""Of a page, or of the claims of one answer, on the wire; a larger record comes alone."""
PAGE_BYTES = 4_000_000
"""Of the records that one page reads: some more than ANSWER_BYTES."""


def is_full(items: Sequence[QueueItem]) -> bool:
    """Return True if the items before the last one, or all of them, have more than PAGE_BYTES together."""
    return len(items) > 1 and sum(len(item.candidate.raw) for item in items) > PAGE_BYTES


def until_full(items: Iterable[QueueItem]) -> list[QueueItem]:
    """Return the items up to the one with which they are full; what follows is not read."""
    taken, size = list[QueueItem](), 0
    for item in items:
        taken.append(item)
        size += len(item.candidate.raw)
        if size > PAGE_BYTES and len(taken) > 1:
            break
    return taken


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts over the candidates file; `malformed` and `duplicate_ids` over both files.

    `unexportable` counts the approved file's records of status `approved` that are not exported, by the reason.
    """

    total: int
    by_status: Mapping[str, int]
    by_model: Mapping[str, int]
    by_task_type: Mapping[str, int]
    by_source: Mapping[str, int]
    by_failure_category: Mapping[str, int]
    export_ready: int
    malformed: int
    duplicate_ids: int
    revision: int
    unexportable: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on one candidate; empty strings are absent. `principal` is the name of the caller's token.

    `corrected_message` is a correction with tool calls, in place of `corrected_response`.
    """

    id: str
    action: Action
    corrected_response: str = ""
    corrected_message: Record | None = None
    failure_category: FailureCategory | None = None
    reviewer: str = ""
    request_id: str = ""
    expected_revision: int | None = None
    principal: str = ""
    lease_id: str = ""


@dataclass(frozen=True, slots=True)
class UndoRequest:
    """A request to put one candidate back in review. `principal` is the name of the caller's token, if any."""

    id: str
    reviewer: str = ""
    request_id: str = ""
    expected_revision: int | None = None
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """A correction that a sibling service's own user made. `principal` is the name of the caller's token, if any."""

    source: str
    task_type: str
    prompt: str
    response: str
    correction: str
    label: str | None = None
    request_id: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Ingested:
    """The stored correction's id; `created` is False if its request_id was stored before."""

    id: str
    created: bool


class OnConflict(enum.StrEnum):
    """What an import does with a record whose id is known with other content."""

    SKIP = "skip"
    QUALIFY = "qualify"


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """A line of a run that was not taken: its number from 1, what is wrong in plain words, its id if it has one."""

    line: int
    reason: str
    id: str = ""


MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought, or a step of one: each line counts once. `problems` has the first MOST_PROBLEMS.

    `by_status` counts the status words of what was taken; of very many, the rare ones under `other`.
    """

    imported: int = 0
    skipped: int = 0
    conflicts: int = 0
    qualified: int = 0
    malformed: int = 0
    by_status: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[ImportProblem, ...] = ()

    def __add__(self, more: Imported) -> Imported:
        return Imported(
            self.imported + more.imported,
            self.skipped + more.skipped,
            self.conflicts + more.conflicts,
            self.qualified + more.qualified,
            self.malformed + more.malformed,
            added(self.by_status, more.by_status),
            (self.problems + more.problems)[:MOST_PROBLEMS],
        )


@dataclass(frozen=True, slots=True)
class ServerVersion:
    """What one server runs: its own version, its store's engine and schema, and the Unix time at which it started."""

    version: str
    engine: str
    schema_version: int
    started_at: float


class SplitBy(enum.StrEnum):
    """What a split keeps together: nothing, examples with the same prompt, or with the same `task_id`."""

    ID = "id"
    PROMPT = "prompt"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Split:
    """A stable part of the examples: `validation` or its complement, by a seeded hash of what `by` names."""

    validation: bool
    validation_fraction: float
    seed: int = 0
    by: SplitBy = SplitBy.ID


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """Which examples an export sends. `revision` is resolved (never 0); `since_revision` 0 means all.

    `unique_prompts`: of those that pass the filter, only the one approved last of each prompt; all else chooses among
    those. An example without a prompt stands for itself.
    """

    revision: int
    filter: CandidateFilter = field(default_factory=CandidateFilter)
    since_revision: int = 0
    shard_index: int = 0
    shard_count: int = 1
    split: Split | None = None
    unique_prompts: bool = False
    snapshot: str = field(default="", compare=False)
    """The name by which the revision was asked for; empty if it was not."""


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Examples of an export that follow one another: the key of the last, their ids and their encodings, joined.

    Each id is followed by a newline, as the export's digest takes them.
    """

    last_key: int
    count: int
    ids: bytes
    encoded: bytes
