"""Many decisions in one commit, each for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from avocet_grpc.core import errors, idempotency, review
from avocet_grpc.core.model import Decision
from avocet_grpc.core.ports.team import TeamTransaction
from avocet_grpc.core.record import record_of


@dataclass(frozen=True, slots=True)
class Refused:
    """A decision that was refused before the ledger saw it: the wire's path of the field, and what is wrong.

    `sent` is a digest of what the caller sent, by which a request_id with other content is known.
    """

    field: str
    problem: str
    sent: str = ""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Decisions in the order in which they are made. `principal` is the name of the caller's token."""

    decisions: tuple[Decision | Refused, ...]
    request_id: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Decided:
    """The candidate as its decision left it."""

    id: str
    status: str
    revision: int


Outcome = Decided | errors.CorrectionsError


def submit_all(tx: TeamTransaction, request: BatchRequest) -> list[Outcome]:
    """Decide each as `review.submit` does, with a revision of its own; one that is refused stops no other.

    A request_id used again gives the first answer, with its refusals. Raises InvalidField for a request_id of other
    content.
    """
    digest = idempotency.digest("BatchSubmit", request)
    if (answer := idempotency.recall(tx, request, digest)) is not None:
        return [_recalled(kept) for kept in answer["outcomes"]]
    outcomes = [_outcome(tx, decision) for decision in request.decisions]
    idempotency.keep(tx, request, digest, {"outcomes": _kept(outcomes)})
    return outcomes


def _outcome(tx: TeamTransaction, decision: Decision | Refused) -> Outcome:
    if isinstance(decision, Refused):
        return errors.InvalidField(decision.field, decision.problem)
    try:
        after = tx.apart(partial(review.submit, decision=decision))
    except errors.CorrectionsError as error:
        return error
    return Decided(decision.id, review.status_word(record_of(after)), after.revision)


def _kept(outcomes: Sequence[Outcome]) -> list[list[Any]]:
    """Return the outcomes as JSON values: a refusal as its class and what the class was made of."""
    return [
        [outcome.id, outcome.status, outcome.revision]
        if isinstance(outcome, Decided)
        else [type(outcome).__name__, vars(outcome)]
        for outcome in outcomes
    ]


def _recalled(kept: list[Any]) -> Outcome:
    if len(kept) == 3:
        return Decided(*kept)
    name, parts = kept
    kind: type[errors.CorrectionsError] = getattr(errors, name)
    return kind(**parts)
