"""What the reviewer gets next: claimed for them, so that nobody else gets it, or read from the queue without claims."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import grpc

from avocet_client.cli.review.items import Items
from avocet_client.client import CorrectionsClient
from avocet_client.errors import CorrectionsError, TransportError
from avocet_client.holds import HeldClaim, Hold
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter, status_word

SKIPPED_FOR_S = 3_600
"""For how long a candidate that was skipped is not handed to the same reviewer again."""
MOST_AT_ONCE = 50


@dataclass
class Shown:
    """A candidate for the reviewer. If it has no claim, although others have, `why_unclaimed` says why."""

    candidate: pb.Candidate
    claim: HeldClaim | None = None
    why_unclaimed: str = ""

    @property
    def is_lost(self) -> bool:
        """True once its claim is known to have ended."""
        return self.claim is not None and self.claim.lost


class Supply:
    """The candidates of one review. Use it as `with supply:`; leaving it releases every claim."""

    def __init__(
        self,
        client: CorrectionsClient,
        filter: CandidateFilter,
        order: Any,
        reviewer: str,
        lease_seconds: int,
        claims: bool,
    ) -> None:
        self._client = client
        self._filter = filter
        self._order = order
        self._reviewer = reviewer
        self._lease_seconds = lease_seconds
        self._items = None if claims else Items(client, filter, order)
        self._holds: dict[str, Hold] = {}

    def __enter__(self) -> Supply:
        return self

    def __exit__(self, *_: object) -> None:
        for id in list(self._holds):
            self._leave(id)

    @property
    def has_claims(self) -> bool:
        """False if candidates are read from the queue."""
        return self._items is None

    def next(self) -> Shown | None:
        """Return the next candidate, or None if nothing is left. Raises what the client raises."""
        if self._items is None and ((shown := self._claimed(self._filter)) is not None or self.has_claims):
            return shown
        candidate = next(self._items or iter(()), None)
        return None if candidate is None else Shown(candidate)

    def begin_again(self) -> None:
        """Look again for what was left out or has come since."""
        if self._items is not None:
            self._items = Items(self._client, self._filter, self._order)

    def now(self, id: str) -> pb.Candidate:
        """Return a candidate as it is now. Raises what the client raises."""
        return self._client.get_candidate(id)

    def again(self, candidate: pb.Candidate) -> Shown | str:
        """Claim a candidate that was shown before. Return it as it is now, or words that say why it cannot be decided.

        Raises what the client raises.
        """
        now = self._client.get_candidate(candidate.id)
        if now.status != pb.CANDIDATE_STATUS_NEEDS_REVIEW:
            return f"it is {status_word(now) or 'out of review'} now"
        if not self.has_claims:
            return Shown(now)
        if now.HasField("claim"):
            return self._held_already(now)
        just = _just(now)
        if just != CandidateFilter() and (shown := self._claimed(just, now.id)) is not None:
            return shown
        if not self.has_claims:
            return Shown(now)
        now = self._client.get_candidate(candidate.id)
        if now.HasField("claim"):
            return self._held_already(now)
        return Shown(now, why_unclaimed="It is not held for you, since you skipped it or it cannot be told apart.")

    def skip(self, shown: Shown) -> None:
        """Let others have the candidate, and the reviewer not for a while. Raises what the client raises."""
        if shown.claim is not None and not shown.claim.lost:
            shown.claim.release(postpone_seconds=SKIPPED_FOR_S)
        self.done(shown)

    def done(self, shown: Shown) -> None:
        """The candidate is decided or given up: nothing of it is held any more."""
        self._leave(shown.candidate.id)

    def in_review(self) -> int:
        """Return how many candidates are in review, whoever holds them. Raises what the client raises."""
        return self._client.queue(per_page=1, filter=self._filter).total

    def _claimed(self, filter: CandidateFilter, id: str = "") -> Shown | None:
        """Claim the next candidate of the filter, or the one with this id; None if there is none.

        If the service knows no claims, candidates come from the queue from now on.
        """
        hold = self._client.hold(
            reviewer=self._reviewer,
            filter=filter,
            order=self._order,
            limit=MOST_AT_ONCE if id else 1,
            lease_seconds=self._lease_seconds,
        )
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold)
            except TransportError as error:
                if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                self._items = Items(self._client, self._filter, self._order)
                return None
            claim = next((claim for claim in hold if id in ("", claim.candidate.id)), None)
            if claim is None:
                return None
            for other in hold:
                if other is not claim:
                    other.release()
            self._holds[claim.candidate.id] = hold
            stack.pop_all()
        return Shown(claim.candidate, claim)

    def _held_already(self, candidate: pb.Candidate) -> Shown | str:
        if (held := self._holds.get(candidate.id)) is not None:
            claim = next((claim for claim in held if claim.candidate.id == candidate.id and not claim.lost), None)
            if claim is not None:
                return Shown(candidate, claim)
        mine = self._client.in_review(claims="mine", reviewer=self._reviewer, page_size=500)
        if any(item.id == candidate.id for item in mine):
            return Shown(candidate, why_unclaimed="You hold it in another review, which may have crashed.")
        return f"{candidate.claim.reviewer} holds it now"

    def _leave(self, id: str) -> None:
        if (hold := self._holds.get(id)) is not None:
            with contextlib.suppress(CorrectionsError):
                hold.__exit__(None, None, None)
            self._holds.pop(id, None)


def _just(candidate: pb.Candidate) -> CandidateFilter:
    """Return the filter that matches the candidate and as few others as there can be."""
    quality = candidate.quality_score if math.isfinite(candidate.quality_score) else None
    quality = quality if candidate.HasField("quality_score") else None
    return CandidateFilter(
        task_types=_stated(candidate.task_type),
        model_names=_stated(candidate.model_name),
        sources=_stated(candidate.source),
        benchmark_run_ids=_stated(candidate.benchmark_run_id),
        labels=_stated(candidate.label),
        min_quality_score=quality,
        max_quality_score=quality,
        prompt_digests=_stated(candidate.prompt_digest),
    )


def _stated(value: str) -> list[str]:
    return [value] if value else []
