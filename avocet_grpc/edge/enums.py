"""Wire enums to core enums and back: both carry the same words."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Action, FailureCategory, OnConflict, Order, SplitBy, Status
from avocet_grpc.core.ports.claims import ClaimState

E = TypeVar("E", bound=enum.StrEnum)


def by_number(wire: Any, prefix: str, words: type[E]) -> dict[int, E]:
    """Return the words of a wire enum by number; both carry the same words."""
    return {wire.Value(f"{prefix}_{word.name}"): word for word in words}


ACTIONS = by_number(pb.Action, "ACTION", Action)
CATEGORIES = by_number(pb.FailureCategory, "FAILURE_CATEGORY", FailureCategory)
ON_CONFLICTS = by_number(pb.OnConflict, "ON_CONFLICT", OnConflict)
ORDERS = by_number(pb.Order, "ORDER", Order)
CLAIM_STATES = by_number(pb.ClaimState, "CLAIM_STATE", ClaimState)
SPLIT_BYS = by_number(pb.SplitBy, "SPLIT_BY", SplitBy)
STATUSES = by_number(pb.CandidateStatus, "CANDIDATE_STATUS", Status)

CATEGORY_NUMBERS: dict[str, int] = {word.value: number for number, word in CATEGORIES.items()}
STATUS_NUMBERS: dict[str, int] = {word.value: number for number, word in STATUSES.items()}
