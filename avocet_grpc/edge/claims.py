"""Claims as wire messages, and the requests about them as core nouns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.claims import ClaimRequest, Held, Leases
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import Candidate
from avocet_grpc.core.ports.claims import Claim
from avocet_grpc.core.ports.team import TeamReader
from avocet_grpc.edge import checks
from avocet_grpc.edge.call_context import principal
from avocet_grpc.edge.candidate_cache import CandidateCache
from avocet_grpc.edge.parse import candidate_filter, order
from avocet_grpc.edge.same_prompt import fill_same_prompt
from avocet_grpc.edge.wire import length_delimited, prefix

LEASE_SECONDS = 600
LIMITS = range(1, 51)
LEASES = range(10, 3_601)
POSTPONES = range(604_801)
MAX_LEASES = 500
CLAIM_BYTES = 200
"""Of a claim beside its candidate and its reviewer: ids, times, and tags."""
CLAIMS: int = pb.ClaimResponse.DESCRIPTOR.fields_by_name["claims"].number
LEASE_ID: int = pb.Claim.DESCRIPTOR.fields_by_name["lease_id"].number
CANDIDATE: int = pb.Claim.DESCRIPTOR.fields_by_name["candidate"].number


def claim_request(request: pb.ClaimRequest) -> ClaimRequest:
    """Return who asks for how many candidates, and for how long."""
    checks.at_most("reviewer", request.reviewer, checks.MAX_STRING)
    if not request.reviewer.strip():
        raise InvalidField("reviewer", "must not be blank: a claim needs a reviewer")
    return ClaimRequest(
        reviewer=request.reviewer,
        limit=checks.in_range("limit", request.limit or 1, LIMITS),
        lease_seconds=lease_seconds(request.lease_seconds),
        filter=candidate_filter(request.filter),
        order=order(request.order),
        request_id=checks.request_id(request.request_id),
        principal=principal(),
    )


def lease_seconds(seconds: int) -> int:
    """Return how long a claim lasts; 0 is ten minutes."""
    return checks.in_range("lease_seconds", seconds or LEASE_SECONDS, LEASES)


def postpone_seconds(seconds: int) -> int:
    """For how long a released candidate is kept from its reviewer."""
    return checks.in_range("postpone_seconds", seconds, POSTPONES)


def lease_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Return the lease ids of a request, each of which may be any string."""
    checks.at_least_one("lease_ids", ids)
    return checks.strings("lease_ids", ids, MAX_LEASES)


def claim_bytes(reviewer: str, cache: CandidateCache, candidate: Candidate) -> int:
    """Return about how many bytes the claim of a candidate takes in a ClaimResponse."""
    message = cache.encoded(candidate, include_record=False).message
    return len(message) + 2 * len(reviewer.encode()) + CLAIM_BYTES


def claim_response(reader: TeamReader, held: Sequence[Held], cache: CandidateCache) -> bytes:
    """Return the claims with the candidates that they hold, as the bytes of a ClaimResponse."""
    encoded = [cache.encoded(one.candidate, include_record=False) for one in held]
    others = [pb.Candidate(prompt_digest=made.prompt_digest) for made in encoded]
    fill_same_prompt(reader, others)
    # The claims of one answer mostly end together, and a message in two parts is the sum of its fields.
    ends = {(one.claim.reviewer, one.claim.expires_at): one.claim for one in held}
    holders = {end: pb.Candidate(claim=holder_message(claim)).SerializeToString() for end, claim in ends.items()}
    sames = {end: _claim(replace(claim, lease_id="")).SerializeToString() for end, claim in ends.items()}
    answer: list[bytes] = []
    for one, made, more in zip(held, encoded, others, strict=True):
        end = one.claim.reviewer, one.claim.expires_at
        candidate = [made.message, more.SerializeToString(), holders[end]]
        lease = length_delimited(LEASE_ID, one.claim.lease_id.encode())
        fields = [lease, prefix(CANDIDATE, sum(map(len, candidate))), *candidate, sames[end]]
        answer += [prefix(CLAIMS, sum(map(len, fields))), *fields]
    return b"".join(answer)


def renewed_response(leases: Leases) -> pb.RenewClaimsResponse:
    """Return the claims that live on, without their candidates."""
    return pb.RenewClaimsResponse(claims=[_claim(claim) for claim in leases.living], lost=leases.lost)


def released_response(leases: Leases) -> pb.ReleaseClaimsResponse:
    """Return how many claims were ended."""
    return pb.ReleaseClaimsResponse(released=len(leases.living), lost=leases.lost)


def holder_message(claim: Claim) -> pb.CandidateClaim:
    """Return the holder of a candidate, without the lease id: only its taker may see that."""
    message = pb.CandidateClaim(reviewer=claim.reviewer)
    message.expires_at.FromMilliseconds(int(claim.expires_at * 1_000))
    return message


def show_claims(reader: TeamReader, shown: Iterable[tuple[Candidate, pb.Candidate]]) -> None:
    """Fill in the holder of each candidate that is served."""
    messages = {candidate.key: message for candidate, message in shown}
    for key, claim in reader.claims.holders(messages).items():
        messages[key].claim.CopyFrom(holder_message(claim))


def _claim(claim: Claim) -> pb.Claim:
    message = pb.Claim(lease_id=claim.lease_id, reviewer=claim.reviewer)
    message.expires_at.FromMilliseconds(int(claim.expires_at * 1_000))
    return message
