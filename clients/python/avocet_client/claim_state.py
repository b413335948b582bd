"""The claims that one context manager holds, without any I/O: which still live, and when to renew them."""

from __future__ import annotations

from collections.abc import Iterable

from avocet_client.errors import ClaimLost, CorrectionsError
from avocet_client.v1 import corrections_pb2 as pb

LEASE_SECONDS = 600
"""How long a lease lasts if the caller states nothing."""
RENEWALS = 3
"""How often a lease is renewed before it would end, so that two renewals may fail."""
RETRY_SECONDS = 1.0
CALL_SECONDS = 10.0
"""How long one renewal, or the release, may take."""


class ClaimState:
    """What became of each claim. `now` is any clock's seconds, the same clock in every method."""

    def __init__(self, lease_seconds: int) -> None:
        self.lease_seconds = lease_seconds or LEASE_SECONDS
        self._live: dict[str, pb.Claim] = {}
        self._lost: dict[str, pb.Claim] = {}
        self._ends = self._next = 0.0

    @property
    def live(self) -> list[str]:
        """The lease ids that are held: not decided, not lost."""
        return list(self._live)

    @property
    def lost(self) -> list[str]:
        """The lease ids that ended before they were decided or released."""
        return list(self._lost)

    def hold(self, claims: Iterable[pb.Claim], asked: float) -> None:
        """Take the claims in that were asked for at `asked`. The server's lease began then at the earliest."""
        self._live = {claim.lease_id: claim for claim in claims}
        self._set_clock(asked)

    def seconds_until_renewal(self, now: float) -> float:
        """How long to wait before the next renewal."""
        return max(0.0, self._next - now)

    def renewal(self, now: float) -> list[str]:
        """The lease ids to renew now. If the leases have ended by this clock all are lost, and there are none."""
        if now >= self._ends:
            self._lose(self.live)
        return self.live

    def renewed(self, response: pb.RenewClaimsResponse, asked: float) -> None:
        """Take in the answer to a renewal that was asked for at `asked`."""
        self._lose(response.lost)
        self._set_clock(asked)

    def failed(self, now: float) -> None:
        """A renewal failed: try again soon."""
        self._next = min(now + RETRY_SECONDS, self._ends)

    def settle(self, lease_id: str) -> None:
        """The claim has ended by a decision or a release."""
        self._live.pop(lease_id, None)
        self._lost.pop(lease_id, None)  # a renewal that crossed the decision did not find it any more

    def refused(self, lease_id: str, error: CorrectionsError) -> None:
        """A decision under the claim was refused."""
        if isinstance(error, ClaimLost):
            self._lose([lease_id])

    def _set_clock(self, asked: float) -> None:
        self._ends = asked + self.lease_seconds
        self._next = asked + self.lease_seconds / RENEWALS

    def _lose(self, lease_ids: Iterable[str]) -> None:
        for id in lease_ids:
            if (claim := self._live.pop(id, None)) is not None:
                self._lost[id] = claim
