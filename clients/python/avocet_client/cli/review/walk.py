"""What each key does, from one candidate to the next."""

from __future__ import annotations

from typing import Any

from avocet_client.batch_state import Decision
from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.review import wording
from avocet_client.cli.review.corrections import Corrections
from avocet_client.cli.review.decisions import Decisions, State, Step
from avocet_client.cli.review.drafts import Drafts
from avocet_client.cli.review.keys import ESCAPE
from avocet_client.cli.review.pager import show_paged
from avocet_client.cli.review.supply import Shown, Supply
from avocet_client.cli.review.talk import ENTER, Back, Gone, Talk
from avocet_client.cli.screen import text
from avocet_client.client import CorrectionsClient
from avocet_client.errors import Conflict, CorrectionsError, NotFound, TransportError, TryLater
from avocet_client.v1 import corrections_pb2 as pb


class _Quit(Exception):
    """The reviewer has had enough."""


class Walk:
    """One review: the candidate on the screen, and what the reviewer makes of it."""

    def __init__(self, client: CorrectionsClient, talk: Talk, supply: Supply, drafts: Drafts, reviewer: str) -> None:
        self.state = State()
        self._talk = talk
        self._supply = supply
        self._drafts = drafts
        self._decisions = Decisions(client, talk, supply, drafts, reviewer, self.state)
        self._corrections = Corrections(talk, drafts)
        self._in_review = 0
        self._has_begun = False
        self._told = ""

    def run(self) -> None:
        """Show one candidate after another until the queue or the reviewer ends it."""
        try:
            self._take_up_drafts()
            while (shown := self._next()) is not None:
                self._show(shown)
                while not self._act(self._talk.key(wording.KEYS), shown):
                    pass
            self._talk.flush()
        except (_Quit, Gone):
            return

    def _next(self) -> Shown | None:
        while not self.state.waiting:
            trouble = ""
            try:
                shown = self._supply.next()
            except (TransportError, TryLater) as error:
                if not self._has_begun:
                    raise
                trouble = str(error)
            else:
                if shown is not None:
                    return shown
            if not self._idle(trouble):
                return None
        return self.state.waiting.pop()

    def _act(self, key: str, shown: Shown) -> bool:
        """Do what the key says. Return whether to show the next candidate."""
        try:
            match key:
                case "c" | "t" | "d" | "f" if shown.is_lost:
                    self._talk.warn("Your claim on it has ended.")
                    return self._decisions.look_again(shown)
                case "c":
                    return self._decide(shown, "corrected", corrected_response=self._corrections.text(shown.candidate))
                case "t":
                    return self._decide(
                        shown, "corrected", corrected_message=self._corrections.message(shown.candidate)
                    )
                case "d":
                    return self._decide(shown, "discarded")
                case "f":
                    return self._decide(shown, "flagged")
                case "s":
                    return self._skip(shown)
                case "u":
                    return self._undo(shown)
                case "x":
                    return self._throw_away(shown)
                case "p" | " ":
                    show_paged(self._talk, candidate_panel(shown.candidate))
                case "?":
                    self._talk.say(wording.HELP)
                case "q":
                    raise _Quit
                case str(other) if other == ESCAPE:
                    return self._stay("There is nothing to go back from; ? shows the keys.")
        except Back as back:
            return self._stay(str(back) or "Nothing was decided.")
        return False

    def _decide(self, shown: Shown, outcome: str, **correction: Any) -> bool:
        action, again = {"corrected": ("correct", "c"), "discarded": ("discard", "d"), "flagged": ("flag", "f")}[
            outcome
        ]
        question = f"What was wrong?  {wording.CATEGORY}  Enter: not stated  Esc: back"
        key = self._talk.ask(question, f"123456{ENTER}{again}")
        category: Any = wording.CATEGORIES[int(key) - 1] if key.isdigit() else None
        decision: Any = {"id": shown.candidate.id, "action": action, "failure_category": category} | correction
        return self._decisions.decide(shown, outcome, Decision(**decision))

    def _skip(self, shown: Shown) -> bool:
        try:
            self._supply.skip(shown)
        except CorrectionsError as error:
            return self._stay(f"{error} Skip it again.")
        self.state.done(Step("skipped", shown.candidate, []))
        return True

    def _undo(self, shown: Shown | None) -> bool:
        """Take the last step back, and show its candidate before the present one."""
        if not self.state.steps:
            return self._stay("There is nothing to undo.")
        step = self.state.steps[-1]
        was_skipped = step.outcome == "skipped"
        try:
            again = (self._supply.again if was_skipped else self._decisions.take_back)(step.candidate)
        except (Conflict, NotFound) as error:
            self.state.steps.pop()
            return self._stay(f"{step.candidate.id}: {error} It is left as it is; u takes back the decision before it.")
        except CorrectionsError as error:
            return self._stay(f"{error} Undo again.")
        self.state.steps.pop()
        self.state.counts[step.outcome] -= 1
        self.state.counts["undone"] += not was_skipped
        self._drafts.restore(step.drafts)
        if isinstance(again, str):
            return self._stay(f"{step.candidate.id} is not shown again: {again}.")
        self.state.waiting += [again] if shown is None else [shown, again]
        self._talk.say(f"{step.candidate.id} is {'shown' if was_skipped else 'in review'} again.", "green")
        return True

    def _throw_away(self, shown: Shown) -> bool:
        dropped = self._drafts.drop(shown.candidate.id)
        return self._stay("The correction is thrown away." if dropped else "No correction is kept for it.")

    def _idle(self, trouble: str) -> bool:
        """Nothing can be shown. Return whether to look again."""
        if trouble:
            self._talk.warn(trouble)
        else:
            self._count()
            self._talk.say(wording.left(self._in_review), "bold green")
            if not self._in_review and not self.state.steps:
                return False
        while True:
            match self._talk.key(wording.IDLE_KEYS):
                case "u" if self._undo(None):
                    return True
                case "r":
                    self._supply.begin_again()
                    return True
                case "?":
                    self._talk.say(wording.HELP)
                case "q":
                    return False

    def _take_up_drafts(self) -> None:
        ids = self._drafts.ids()
        try:
            if not ids or self._talk.ask(wording.kept_drafts(ids), f"y{ENTER}") != "y":
                return
        except Back:
            return
        for id in reversed(ids):
            candidate = pb.Candidate(id=id)
            try:
                again = self._supply.again(candidate)
                if isinstance(again, Shown):
                    self.state.waiting.append(again)
                else:
                    self._decisions.offer(self._supply.now(id), again)
            except CorrectionsError as error:
                self._talk.warn(f"{id}: {error} Your correction is kept.")

    def _show(self, shown: Shown) -> None:
        self._has_begun = True
        self._count()

        def redraw() -> None:
            self._talk.screen.clear()
            self._draw(shown)

        self._talk.redraw = redraw
        self._draw(shown)

    def _draw(self, shown: Shown) -> None:
        state = self.state
        handled = state.decided + state.counts["skipped"]
        self._talk.show(text(f"\n{wording.progress(handled, self._in_review, state.decided)}", style="bold"))
        self._talk.show(candidate_panel(shown.candidate, 2 * self._talk.screen.height))
        if shown.why_unclaimed:
            self._talk.warn(shown.why_unclaimed)
        drafts = self._drafts.all_of(shown.candidate.id)
        if drafts:
            self._talk.warn(wording.drafts_notice(drafts))
        for once in (self._drafts.trouble, "" if self._supply.has_claims else wording.NO_CLAIMS):
            if once not in self._told:
                self._told += once
                self._talk.warn(once)

    def _count(self) -> None:
        """Ask how many are in review. If nobody answers, what was known before does."""
        try:
            self._in_review = self._supply.in_review()
        except CorrectionsError:
            return

    def _stay(self, why: str) -> bool:
        """Say why the candidate is still to be decided."""
        self._talk.warn(why)
        return False
