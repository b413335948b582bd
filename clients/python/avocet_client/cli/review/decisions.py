"""How a decision is sent, and what happens to a candidate whose decision or claim was refused."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from avocet_client.batch_state import Decision
from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.decided import is_decided_so
from avocet_client.cli.review.drafts import Draft, Drafts
from avocet_client.cli.review.supply import Shown, Supply
from avocet_client.cli.review.talk import ENTER, Back, Talk
from avocet_client.client import CorrectionsClient
from avocet_client.errors import Conflict, CorrectionsError, NotFound
from avocet_client.v1 import corrections_pb2 as pb

TAKE_BACK = (
    "Your correction is kept.  r takes that decision back, and offers yours again  x throws yours away  Enter: on"
)


@dataclass(frozen=True)
class Step:
    """What the reviewer did with one candidate, which undo takes back."""

    outcome: str
    candidate: pb.Candidate
    drafts: list[Draft]


@dataclass
class State:
    """How far the review is."""

    waiting: list[Shown] = field(default_factory=list)
    """What is shown before the next one of the supply; the last one first."""
    steps: list[Step] = field(default_factory=list)
    counts: Counter[str] = field(
        default_factory=lambda: Counter({"corrected": 0, "discarded": 0, "flagged": 0, "skipped": 0, "undone": 0})
    )

    def done(self, step: Step) -> None:
        """The reviewer has done it."""
        self.steps.append(step)
        self.counts[step.outcome] += 1

    @property
    def decided(self) -> int:
        """How many were decided here, those aside that were taken back."""
        return self.counts["corrected"] + self.counts["discarded"] + self.counts["flagged"]


class Decisions:
    """Decides for one reviewer. What returns a bool says whether to leave the candidate that is shown."""

    def __init__(
        self, client: CorrectionsClient, talk: Talk, supply: Supply, drafts: Drafts, reviewer: str, state: State
    ) -> None:
        self._client = client
        self._talk = talk
        self._supply = supply
        self._drafts = drafts
        self._reviewer = reviewer
        self._state = state
        self._id = uuid.uuid4()

    def decide(self, shown: Shown, outcome: str, decision: Decision) -> bool:
        """Send a decision. If it was refused, show what has become of the candidate."""
        try:
            decided = self._sent(shown, decision)
        except (Conflict, NotFound) as error:
            return self._refused(shown, outcome, decision, error)
        except CorrectionsError as error:
            return self._stay(f"{error} Decide again; what you typed is kept.")
        self._stored(shown, outcome, decided)
        return True

    def look_again(self, shown: Shown) -> bool:
        """Claim the candidate again, or say what has become of it, and offer what was typed for it."""
        id = shown.candidate.id
        try:
            now = self._client.get_candidate(id)
            if shown.claim is not None and not shown.is_lost and now.claim.reviewer == shown.claim.reviewer:
                again: Shown | str = Shown(now, shown.claim)
            else:
                self._supply.done(shown)
                again = self._supply.again(now)
        except NotFound as error:
            self._talk.warn(str(error))
            return True
        except CorrectionsError as error:
            return self._stay(f"{error} Press the key again.")
        if isinstance(again, Shown):
            self._state.waiting.append(again)
            self._talk.warn("This is how it is now. What you typed is kept for it.")
        else:
            self.offer(now, again)
        return True

    def offer(self, candidate: pb.Candidate, why: str) -> None:
        """Say why the candidate cannot be decided. If a correction was typed for it, offer to take the other back."""
        drafts = self._drafts.all_of(candidate.id)
        is_decided = candidate.status != pb.CANDIDATE_STATUS_NEEDS_REVIEW
        self._talk.warn(
            f"{why[0].upper()}{why[1:]}, and is left as it is." if is_decided else f"{candidate.id}: {why}."
        )
        if not drafts:
            return
        if not is_decided:
            self._talk.warn("Your correction is kept.")
            return
        self._talk.show(candidate_panel(candidate, self._talk.screen.height))
        try:
            key = self._talk.ask(TAKE_BACK, f"rx{ENTER}")
        except Back:
            return
        if key == "x":
            self._drafts.drop(candidate.id)
        elif key == "r":
            self._take_back_for_draft(candidate)

    def take_back(self, decided: pb.Candidate) -> Shown | str:
        """Undo a decision and claim the candidate, or say why not. Raises what `undo` raises."""
        request_id = self._repeatable(decided, "undo")
        undone = self._client.undo(
            decided.id, reviewer=self._reviewer, expected_revision=decided.revision, request_id=request_id
        )
        try:
            return self._supply.again(undone)
        except CorrectionsError as error:
            return Shown(undone, why_unclaimed=f"It could not be claimed: {error}")

    def _take_back_for_draft(self, decided: pb.Candidate) -> None:
        try:
            again = self.take_back(decided)
        except CorrectionsError as error:
            self._talk.warn(f"{error} It is left as it is.")
            return
        if isinstance(again, Shown):
            self._state.waiting.append(again)
            self._talk.say(f"{decided.id} is in review again.", "green")
        else:
            self._talk.warn(f"{decided.id} is in review again, but {again}.")

    def _sent(self, shown: Shown, decision: Decision) -> pb.Candidate:
        how: dict[str, Any] = {
            "action": decision.action,
            "corrected_response": decision.corrected_response,
            "corrected_message": decision.corrected_message,
            "failure_category": decision.failure_category,
            "expected_revision": shown.candidate.revision,
        }
        if shown.claim is not None:
            request_id = self._repeatable(shown.candidate, shown.claim.lease_id, *how.values())
            return shown.claim.submit(request_id=request_id, **how)
        request_id = self._repeatable(shown.candidate, *how.values())
        return self._client.submit(decision.id, reviewer=self._reviewer, request_id=request_id, **how)

    def _refused(self, shown: Shown, outcome: str, decision: Decision, error: CorrectionsError) -> bool:
        me = shown.claim.reviewer if shown.claim is not None else self._reviewer
        try:
            now = self._client.get_candidate(decision.id)
        except CorrectionsError:
            now = pb.Candidate()
        if now.reviewed_by == me and now.revision > shown.candidate.revision and is_decided_so(now, decision):
            self._stored(shown, outcome, now)  # the answer to an earlier try was lost
            return True
        self._talk.warn(str(error))
        return self.look_again(shown)

    def _stored(self, shown: Shown, outcome: str, decided: pb.Candidate) -> None:
        self._supply.done(shown)
        of_undo = pb.Candidate(id=decided.id, revision=decided.revision)
        self._state.done(Step(outcome, of_undo, self._drafts.drop(decided.id)))
        self._talk.say(f"{decided.id} is {outcome}.", "green")

    def _repeatable(self, candidate: pb.Candidate, *change: Any) -> str:
        """Return the request id of a change: that of the same one before, whose answer may have been lost."""
        return str(uuid.uuid5(self._id, repr((candidate.id, candidate.revision, change))))

    def _stay(self, why: str) -> bool:
        """Say why the candidate is still to be decided."""
        self._talk.warn(why)
        return False
