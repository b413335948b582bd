"""The words of the API and the numbers of the wire: `correct` is `ACTION_CORRECT`, `wrong_answer` is
`FAILURE_CATEGORY_WRONG_ANSWER`.

Arguments are words, so that a type checker knows them; messages from the server carry the wire's numbers, and
`status_word` and `category_word` name those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from avocet_client.requests import sendable
from avocet_client.v1 import corrections_pb2 as pb

Action = Literal["correct", "discard", "flag"]
FailureCategory = Literal[
    "scoring_artifact", "style_violation", "partial_answer", "wrong_answer", "format_error", "hallucination"
]
Order = Literal["file", "timestamp", "timestamp_desc", "quality", "quality_desc"]
SplitBy = Literal["id", "prompt", "task"]
ListOrder = Literal["file", "timestamp", "timestamp_desc", "quality", "quality_desc", "reviewed", "reviewed_desc"]
ChangeAction = Literal["correct", "discard", "flag", "undo", "ingest", "import", "add", "edit", "remove", "overrule"]
SplitName = Literal["train", "validation"]
ClaimWord = Literal["any", "unclaimed", "claimed", "mine"]
"""Which candidates of the queue, by who holds them."""
ConflictWord = Literal["skip", "qualify"]
"""What an import does with a record whose id is known with other content."""
Status = Literal["needs_review", "approved", "discarded", "model_rejected"]

T = TypeVar("T")


def _numbers(wire: Any, prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix).lower(): number for name, number in wire.items() if number}


ACTIONS: dict[str, pb.Action.ValueType] = _numbers(pb.Action, "ACTION_")
CATEGORIES: dict[str, pb.FailureCategory.ValueType] = _numbers(pb.FailureCategory, "FAILURE_CATEGORY_")
ORDERS: dict[str, pb.Order.ValueType] = _numbers(pb.Order, "ORDER_")
SPLIT_BYS: dict[str, pb.SplitBy.ValueType] = _numbers(pb.SplitBy, "SPLIT_BY_")
STATUSES: dict[str, pb.CandidateStatus.ValueType] = _numbers(pb.CandidateStatus, "CANDIDATE_STATUS_")
CLAIM_STATES: dict[str, pb.ClaimState.ValueType] = _numbers(pb.ClaimState, "CLAIM_STATE_")
ON_CONFLICTS: dict[str, pb.OnConflict.ValueType] = _numbers(pb.OnConflict, "ON_CONFLICT_")
CHANGE_ACTIONS: dict[str, pb.ChangeAction.ValueType] = _numbers(pb.ChangeAction, "CHANGE_ACTION_")
SPLITS: dict[str, pb.SplitName.ValueType] = _numbers(pb.SplitName, "SPLIT_NAME_")
_CATEGORY_WORDS: dict[Any, Any] = {number: word for word, number in CATEGORIES.items()}
_STATUS_WORDS: dict[Any, Any] = {
    number: word for word, number in _numbers(pb.CandidateStatus, "CANDIDATE_STATUS_").items()
}


def number(field: str, word: str, numbers: dict[str, T]) -> T:
    """Return the wire's number of a word. Raises ValueError, naming the words that there are."""
    try:
        return numbers[word]
    except KeyError:
        raise ValueError(f"{field} must be one of {', '.join(numbers)}; it is {word!r}") from None


def status_word(candidate: pb.Candidate) -> Status | None:
    """Return the candidate's status, or None if the record has another program's word (in `extra_json`)."""
    return _STATUS_WORDS.get(candidate.status)


def category_word(of: pb.Candidate | pb.TrainingMetadata) -> FailureCategory | None:
    """Return the failure category, or None if there is none."""
    return _CATEGORY_WORDS.get(of.failure_category)


def counted(number: int, one: str) -> str:
    """Return how many there are: `1 row`, `2,000 rows`. The plural of `one` is made with an s."""
    return f"{number:,} {one if number == 1 else one + 's'}"


LISTS = (
    "task_types", "model_names", "sources", "benchmark_run_ids", "failure_categories", "labels", "prompt_digests",
)  # fmt: skip
"""The fields of a filter that are lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFilter:
    """Which candidates or examples. The values in one list are ORed, the fields ANDed; what is empty does not restrict.

    Quality bounds are inclusive. A record without the key matches no list and no bound on it.
    """

    task_types: Sequence[str] = ()
    model_names: Sequence[str] = ()
    sources: Sequence[str] = ()
    benchmark_run_ids: Sequence[str] = ()
    failure_categories: Sequence[FailureCategory] = ()
    labels: Sequence[str] = ()
    min_quality_score: float | None = None
    max_quality_score: float | None = None
    prompt_digests: Sequence[str] = ()
    """By `Candidate.prompt_digest`: candidates that were asked the same."""

    def __post_init__(self) -> None:
        for name in LISTS:
            if isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is a list of strings; write [{getattr(self, name)!r}]")

    def message(self) -> pb.CandidateFilter:
        """Return the filter as the wire has it. Raises ValueError for an unknown failure category, and InvalidField."""
        return sendable(pb.CandidateFilter, "filter")(
            task_types=self.task_types,
            model_names=self.model_names,
            sources=self.sources,
            benchmark_run_ids=self.benchmark_run_ids,
            failure_categories=[number("failure_categories", word, CATEGORIES) for word in self.failure_categories],
            labels=self.labels,
            min_quality_score=self.min_quality_score,
            max_quality_score=self.max_quality_score,
            prompt_digests=self.prompt_digests,
        )
