"""`avocet review`: walks the queue in the terminal."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections import Counter
from typing import Annotated, Any

import typer

from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.drafts import Drafts
from avocet_client.cli.editor import edit
from avocet_client.cli.items import Items
from avocet_client.cli.keys import ESCAPE, Keys
from avocet_client.cli.message_draft import read_message, template
from avocet_client.cli.options import CategoryName, OrderName, Reviewer, word
from avocet_client.cli.screen import text
from avocet_client.cli.session import Session
from avocet_client.errors import Conflict, CorrectionsError, InvalidField, NotFound, TransportError, TryLater
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter, status_word

KEYS = "[c]orrect  [t]ool call  [d]iscard  [f]lag  [s]kip  [u]ndo  [q]uit"
CATEGORIES = [category.value for category in CategoryName]


def review(
    session: Session,
    filter: CandidateFilter,
    order: Annotated[OrderName, typer.Option(help="What comes first.")] = OrderName.file,
    reviewer: Reviewer = None,
) -> None:
    """Walk the queue: c corrects in $EDITOR, d discards, f flags, s skips, u undoes the last decision, q quits.

    t corrects with a message that calls tools, which you edit as JSON.

    Each decision is stored at once. It is refused if somebody else has decided meanwhile; a correction that you typed
    is then offered again. Esc goes back. At the end, corrections that were not stored are in files, which are named.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError("review needs a terminal; a program decides with 'avocet submit'")
    keys = Keys()
    walk = Review(session, Items(session.client, filter, word(order)), keys, reviewer or "")
    try:
        with keys, contextlib.suppress(KeyboardInterrupt):
            walk.run()
    finally:
        for id, path in walk.drafts.rescued():
            session.err.print(f"The correction of {id} was not stored; it is kept in {path}", soft_wrap=True)
        words = ", ".join(f"{count} {name}" for name, count in walk.counts.items() if count) or "nothing was decided"
        session.show(dict(walk.counts), lambda: words)


class _Back(Exception):
    """The reviewer goes back to the candidate without a decision."""


class Review:
    """One walk: the candidate on the screen, and what was decided so far."""

    def __init__(self, session: Session, items: Items, keys: Keys, reviewer: str) -> None:
        self._session = session
        self._items = items
        self._keys = keys
        self._reviewer = reviewer
        self._decided: list[tuple[str, pb.Candidate]] = []
        self._again: list[pb.Candidate] = []
        self._id = uuid.uuid4()
        self.drafts = Drafts()
        self.counts = Counter({"corrected": 0, "discarded": 0, "flagged": 0, "skipped": 0, "undone": 0})

    def run(self) -> None:
        """Show one candidate after another until the queue or the reviewer ends it."""
        while (candidate := self._next()) is not None:
            self._session.err.print(candidate_panel(candidate))
            while (key := self._key(KEYS)) not in ("q", ""):
                if self._act(key, candidate):
                    break
            else:
                return
        self._say("The queue is empty.", "bold green")

    def _next(self) -> pb.Candidate | None:
        return self._again.pop() if self._again else next(self._items, None)

    def _act(self, key: str, candidate: pb.Candidate) -> bool:
        """Do what the key says. Return whether to show the next candidate."""
        try:
            match key:
                case "c":
                    return self._correct(candidate)
                case "t":
                    return self._correct_with_calls(candidate)
                case "d":
                    return self._submit(candidate, "discarded", action="discard")
                case "f":
                    return self._submit(candidate, "flagged", action="flag", failure_category=self._category())
                case "s":
                    self.counts["skipped"] += 1
                    return True
                case "u":
                    return self._undo(candidate)
        except _Back as back:
            return self._stay(str(back) or "Nothing was decided.")
        return False

    def _correct(self, candidate: pb.Candidate) -> bool:
        typed = self._typed(candidate.id, candidate.model_response, ".md")
        decision = {"action": "correct", "corrected_response": typed, "failure_category": self._category()}
        return self._submit(candidate, "corrected", **decision)

    def _correct_with_calls(self, candidate: pb.Candidate) -> bool:
        typed = self._typed(_as_calls(candidate.id), template(candidate), ".json")
        try:
            message = read_message(typed)
        except ValueError as error:
            return self._stay(f"{error} Press t to mend it.")
        decision = {"action": "correct", "corrected_message": message, "failure_category": self._category()}
        return self._submit(candidate, "corrected", **decision)

    def _typed(self, draft_name: str, start: str, extension: str) -> str:
        """Return what the reviewer types, beginning with the draft of before, and keep it. Raises _Back."""
        draft = self.drafts.of(draft_name)
        try:
            with self._keys.lent():
                typed = edit(start if draft is None else draft, extension)
        except ValueError as error:
            raise _Back(str(error)) from None
        if (
            typed is None
            and draft is not None
            and self._key("Unchanged.  y submits it, any other key goes back") == "y"
        ):
            typed = draft
        if typed is None or not typed.strip():
            raise _Back("Nothing was changed, so nothing is submitted.")
        self.drafts.typed(draft_name, typed)
        return typed

    def _submit(self, candidate: pb.Candidate, outcome: str, **decision: Any) -> bool:
        request_id = self._repeatable(candidate, *decision.values())
        try:
            decided = self._session.client.submit(
                candidate.id,
                reviewer=self._reviewer,
                expected_revision=candidate.revision,
                request_id=request_id,
                **decision,
            )
        except (Conflict, NotFound) as error:
            self._say(str(error), "yellow")
            return self._refused(candidate.id)
        except (InvalidField, TransportError, TryLater) as error:
            return self._stay(f"{error} Decide again; a correction is kept for it.")
        if outcome == "corrected":
            self.drafts.stored(candidate.id)
            self.drafts.stored(_as_calls(candidate.id))
        self._decided.append((outcome, decided))
        self.counts[outcome] += 1
        self._say(f"{candidate.id} is {outcome}.", "green")
        return True

    def _refused(self, id: str) -> bool:
        """Show what has become of a candidate, and offer a correction again that was typed for it."""
        try:
            now = self._session.client.get_candidate(id)
        except CorrectionsError:
            return True
        if now.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW:
            self._again.append(now)
            self._say("It has changed; this is how it is now. A correction that you typed is kept for it.", "yellow")
            return True
        if not self.drafts.is_unsent(id) and not self.drafts.is_unsent(_as_calls(id)):
            self._say(f"It is {status_word(now) or 'decided'} now, and is left as it is.", "yellow")
            return True
        self._session.err.print(candidate_panel(now))
        hint = "Your correction is kept.  r takes that decision back and offers it again, any other key leaves it"
        return self._take_back(now) if self._key(hint) == "r" else True

    def _take_back(self, decided: pb.Candidate) -> bool:
        """Put a candidate that somebody else decided back into review, and show it next."""
        try:
            undone = self._undone(decided)
        except CorrectionsError as error:
            self._say(f"{error} It is left as it is.", "yellow")
            return True
        self._again.append(undone)
        self._say(f"{decided.id} is in review again. Press c to see your correction.", "green")
        return True

    def _undo(self, candidate: pb.Candidate) -> bool:
        """Take the last decision back, and show its candidate before the present one."""
        if not self._decided:
            return self._stay("There is nothing to undo.")
        outcome, decided = self._decided[-1]
        try:
            undone = self._undone(decided)
        except (Conflict, NotFound) as error:
            self._decided.pop()
            return self._stay(f"{error} It is left as it is.")
        except (TransportError, TryLater) as error:
            return self._stay(f"{error} Undo again.")
        self._decided.pop()
        self.counts[outcome] -= 1
        self.counts["undone"] += 1
        self._again += [candidate, undone]
        self._say(f"{decided.id} is in review again.", "green")
        return True

    def _undone(self, decided: pb.Candidate) -> pb.Candidate:
        return self._session.client.undo(
            decided.id,
            reviewer=self._reviewer,
            expected_revision=decided.revision,
            request_id=self._repeatable(decided),
        )

    def _category(self) -> Any:
        """Return the failure category that the reviewer names by its number; None for another key. Esc goes back."""
        names = "  ".join(f"{number} {name}" for number, name in enumerate(CATEGORIES, 1))
        key = self._key(f"What was wrong?  {names}  (Esc: back, any other key: not stated)")
        if key in ("", ESCAPE.decode()):
            raise _Back
        return CATEGORIES[int(key) - 1] if key in "123456" else None

    def _key(self, hint: str) -> str:
        self._say(hint, "bold")
        return self._keys.read()

    def _repeatable(self, candidate: pb.Candidate, *decision: Any) -> str:
        """Return the request id of a change: that of the same one before, whose answer may have been lost."""
        return str(uuid.uuid5(self._id, repr((candidate.id, candidate.revision, decision))))

    def _stay(self, why: str) -> bool:
        """Say why the candidate is still to be decided."""
        self._say(why, "yellow")
        return False

    def _say(self, what: str, style: str) -> None:
        # Standard output is the result's, for --json.
        self._session.err.print(text(what, style=style))


def _as_calls(id: str) -> str:
    """Return the name of the draft of a candidate's tool calls."""
    return f"{id} (tool call)"
