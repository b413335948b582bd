"""Claims: a reviewer holds the candidates that are shown to them, so that two reviewers never decide the same one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from avocet_grpc.core import idempotency
from avocet_grpc.core.errors import Claimed, ClaimLost
from avocet_grpc.core.model import ANSWER_BYTES, Candidate, CandidateFilter, Decision, Order
from avocet_grpc.core.ports.claims import Claim, ClaimReader
from avocet_grpc.core.ports.team import TeamTransaction

MAX_HELD = 500
"""Claims that one reviewer may have at a time."""
MAX_POSTPONED = 10_000
"""Postponements that the store keeps for one reviewer."""
OTHER_BYTES = 9_000
"""What a claim has on the wire beside its record: twice its reviewer, whose name may have 4 kB, and ids and times."""
SWEPT = 100
"""Claims that have ended by their time and are dropped at each call: as many as one call makes, and more."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A request to hold at most `limit` candidates in review for `lease_seconds`."""

    reviewer: str
    limit: int = 1
    lease_seconds: int = 600
    filter: CandidateFilter = field(default_factory=CandidateFilter)
    order: Order = Order.FILE
    request_id: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A claim and the candidate that it holds."""

    claim: Claim
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Leases:
    """Claims that still live, and the lease ids that are not a living claim of the caller."""

    living: list[Claim]
    lost: list[str]


def most_bytes(candidate: Candidate) -> int:
    """Return what a candidate's claim takes on the wire at most: some keys stand there as text, which may double."""
    return OTHER_BYTES + len(candidate.raw) * (2 if candidate.raw.isascii() else 4)


def claim(tx: TeamTransaction, request: ClaimRequest, bytes_of: Callable[[Candidate], int] = most_bytes) -> list[Held]:
    """Hand out candidates in review that nobody holds; return an empty list if none is left.

    `bytes_of` is asked for the size of a candidate's claim on the wire if all of them might not fit. A request_id used
    again gives those claims of the first answer that still live, as many as fit. Raises InvalidField for a request_id
    of other content.
    """
    digest = idempotency.digest("Claim", request)
    if (answer := idempotency.recall(tx, request, digest)) is not None:
        return _still_held(tx, answer["leases"], bytes_of)
    tx.claims.sweep(SWEPT)
    expires_at = tx.claims.now() + request.lease_seconds
    room = min(request.limit, MAX_HELD - tx.claims.held_by(request.reviewer))
    items = tx.claims.free(request.filter, request.order, request.reviewer, room) if room > 0 else []
    candidates = _fitting([item.candidate for item in items], bytes_of)
    held = [
        Held(Claim(lease_id, candidate.key, request.reviewer, request.principal, expires_at), candidate)
        for lease_id, candidate in zip(_new_lease_ids(len(candidates)), candidates, strict=True)
    ]
    tx.claims.put([one.claim for one in held])
    idempotency.keep(tx, request, digest, {"leases": [one.claim.lease_id for one in held]})
    return held


def renew(tx: TeamTransaction, lease_ids: Sequence[str], lease_seconds: int, principal: str) -> Leases:
    """Make the caller's claims end `lease_seconds` from now; one that has ended stays ended."""
    leases = _own(tx, lease_ids, principal)
    expires_at = tx.claims.now() + lease_seconds
    renewed = [replace(claim, expires_at=expires_at) for claim in leases.living]
    tx.claims.put(renewed)
    return replace(leases, living=renewed)


def release(tx: TeamTransaction, lease_ids: Sequence[str], postpone_seconds: int, principal: str) -> Leases:
    """End the caller's claims; their reviewers do not get the candidates again for `postpone_seconds`."""
    leases = _own(tx, lease_ids, principal)
    tx.claims.end([claim.key for claim in leases.living])
    if postpone_seconds:
        until = tx.claims.now() + postpone_seconds
        for reviewer in {claim.reviewer for claim in leases.living}:
            keys = [claim.key for claim in leases.living if claim.reviewer == reviewer]
            tx.claims.postpone(reviewer, keys, until, MAX_POSTPONED)
    return leases


def decider(claims: ClaimReader, decision: Decision, key: int) -> str:
    """Return who decides the candidate: the decision's reviewer, or the holder whose lease it names.

    Raises ClaimLost if the lease is not the candidate's current claim, Claimed if somebody else holds it.
    """
    held = claims.holders([key]).get(key)
    if decision.lease_id:
        if held is None or not _proves(decision, held):
            raise ClaimLost("the lease is not the candidate's current claim")
        return held.reviewer
    if held is not None and held.reviewer != decision.reviewer:
        raise Claimed(held.reviewer, held.expires_at)
    return decision.reviewer


def _proves(decision: Decision, held: Claim) -> bool:
    same_lease = secrets.compare_digest(decision.lease_id.encode(), held.lease_id.encode())
    return same_lease and held.principal == decision.principal and decision.reviewer in ("", held.reviewer)


def _own(tx: TeamTransaction, lease_ids: Sequence[str], principal: str) -> Leases:
    """Return the caller's claims among these; each lease id counts once."""
    asked = list(dict.fromkeys(lease_ids))
    found = tx.claims.find(asked)
    own = {id: claim for id, claim in found.items() if claim.principal == principal}
    return Leases([own[id] for id in asked if id in own], [id for id in asked if id not in own])


def _still_held(tx: TeamTransaction, lease_ids: list[str], bytes_of: Callable[[Candidate], int]) -> list[Held]:
    living, candidates = tx.claims.find(lease_ids), tx.claims.held_candidates(lease_ids)
    held = [Held(living[id], candidates[id]) for id in lease_ids if id in living]
    # Other programs may have made the records longer since.
    return held[: len(_fitting([one.candidate for one in held], bytes_of))]


def _new_lease_ids(count: int) -> list[str]:
    """Return lease ids that nobody can guess: each has 132 random bits, 96 of them its own.

    The ids of one call begin alike, so that the store writes its index of them in one place.
    """
    start, own = secrets.token_urlsafe(16)[:6], secrets.token_urlsafe(12 * count)
    return [f"{start}{own[16 * number : 16 * number + 16]}" for number in range(count)]


def _fitting(candidates: list[Candidate], bytes_of: Callable[[Candidate], int]) -> list[Candidate]:
    """As many of the first candidates as one answer holds; a larger one comes alone."""
    if sum(map(most_bytes, candidates)) <= ANSWER_BYTES:
        return candidates
    size, fitting = 0, list[Candidate]()
    for candidate in candidates:
        size += bytes_of(candidate)
        if fitting and size > ANSWER_BYTES:
            break
        fitting.append(candidate)
    return fitting
