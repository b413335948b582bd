"""`avocet review`: walks the queue in the terminal."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from avocet_client.cli.editor import edit
from avocet_client.cli.keys import Keys
from avocet_client.cli.options import CategoryName, OrderName, Reviewer, word
from avocet_client.cli.session import Session
from avocet_client.cli.tables import candidate_panel
from avocet_client.client import CorrectionsClient
from avocet_client.errors import Conflict, InvalidField, NotFound, TransportError, TryLater
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CandidateFilter

KEYS = "[c]orrect  [d]iscard  [f]lag  [s]kip  [u]ndo  [q]uit"
CATEGORIES = [category.value for category in CategoryName]
PAGE = 50


def review(
    session: Session,
    filter: CandidateFilter,
    order: Annotated[OrderName, typer.Option(help="What comes first.")] = OrderName.file,
    reviewer: Reviewer = None,
) -> None:
    """Walk the queue: c corrects in $EDITOR, d discards, f flags, s skips, u undoes the last decision, q quits.

    Each decision is stored at once, and refused where somebody else has decided meanwhile.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError("review needs a terminal; a program decides with 'avocet submit'")
    keys = Keys()
    walk = Review(session, Items(session.client, filter, word(order)), keys, reviewer or "")
    try:
        with keys, contextlib.suppress(KeyboardInterrupt):
            walk.run()
    finally:
        words = ", ".join(f"{count} {name}" for name, count in walk.counts.items() if count) or "nothing was decided"
        session.show(dict(walk.counts), lambda: words)


class Items(Iterator[pb.Candidate]):
    """What waits in review, page by page; `total` is how much there was when the last page came."""

    def __init__(self, client: CorrectionsClient, filter: CandidateFilter, order: Any) -> None:
        self._client = client
        self._filter = filter
        self._order = order
        self._token: str | None = ""
        self._page: list[pb.Candidate] = []
        self.total = 0

    def __next__(self) -> pb.Candidate:
        while not self._page and self._token is not None:
            page = self._client.queue(per_page=PAGE, page_token=self._token, filter=self._filter, order=self._order)
            self._page, self._token, self.total = list(page.items), page.next_page_token or None, page.total
        if not self._page:
            raise StopIteration
        return self._page.pop(0)


class Review:
    """One walk: the candidate on the screen, and what was decided so far."""

    def __init__(self, session: Session, items: Items, keys: Keys, reviewer: str) -> None:
        self._session = session
        self._items = items
        self._keys = keys
        self._reviewer = reviewer
        self._decided: list[tuple[str, pb.Candidate]] = []
        self._again: list[pb.Candidate] = []
        self._drafts: dict[str, str] = {}
        self._id = uuid.uuid4()
        self.counts = Counter({"corrected": 0, "discarded": 0, "flagged": 0, "skipped": 0, "undone": 0})

    def run(self) -> None:
        """Show one candidate after another until the queue or the reviewer ends it."""
        while (candidate := self._next()) is not None:
            self._say(candidate_panel(candidate))
            while (key := self._key(KEYS)) not in ("q", ""):
                if self._act(key, candidate):
                    break
            else:
                return
        self._say(Text("The queue is empty.", style="bold green"))

    def _next(self) -> pb.Candidate | None:
        return self._again.pop() if self._again else next(self._items, None)

    def _act(self, key: str, candidate: pb.Candidate) -> bool:
        """Do what the key says. True where the next candidate is to be shown."""
        match key:
            case "c":
                return self._correct(candidate)
            case "d":
                return self._submit(candidate, "discarded", action="discard")
            case "f":
                return self._submit(candidate, "flagged", action="flag", failure_category=self._category())
            case "s":
                self.counts["skipped"] += 1
                return True
            case "u":
                return self._undo(candidate)
        return False

    def _correct(self, candidate: pb.Candidate) -> bool:
        try:
            with self._keys.lent():
                text = edit(self._drafts.get(candidate.id, candidate.model_response))
        except ValueError as error:
            return self._stay(str(error))
        if text is None or not text.strip():
            return self._stay("Nothing was changed, so nothing is submitted.")
        self._drafts[candidate.id] = text
        category = self._category()
        return self._submit(
            candidate, "corrected", action="correct", corrected_response=text, failure_category=category
        )

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
            self._say(Text(f"{error} It is left as it is.", style="yellow"))
            return True
        except (InvalidField, TransportError, TryLater) as error:
            return self._stay(f"{error} Decide again; a correction is kept for it.")
        self._decided.append((outcome, decided))
        self.counts[outcome] += 1
        self._say(Text(f"{candidate.id} is {outcome}.", style="green"))
        return True

    def _undo(self, candidate: pb.Candidate) -> bool:
        """Take the last decision back, and show its candidate before the present one."""
        if not self._decided:
            return self._stay("There is nothing to undo.")
        outcome, decided = self._decided[-1]
        try:
            undone = self._session.client.undo(
                decided.id,
                reviewer=self._reviewer,
                expected_revision=decided.revision,
                request_id=self._repeatable(decided),
            )
        except (Conflict, NotFound) as error:
            self._decided.pop()
            return self._stay(f"{error} It is left as it is.")
        except (TransportError, TryLater) as error:
            return self._stay(f"{error} Undo again.")
        self._decided.pop()
        self.counts[outcome] -= 1
        self.counts["undone"] += 1
        self._again += [candidate, undone]
        self._say(Text(f"{decided.id} is in review again.", style="green"))
        return True

    def _category(self) -> Any:
        """The failure category that the reviewer names by its number; None for any other key."""
        names = "  ".join(f"{number} {name}" for number, name in enumerate(CATEGORIES, 1))
        key = self._key(f"What was wrong?  {names}  (any other key: not stated)")
        return CATEGORIES[int(key) - 1] if key and key in "123456" else None

    def _key(self, hint: str) -> str:
        self._say(Text(hint, style="bold"))
        return self._keys.read()

    def _repeatable(self, candidate: pb.Candidate, *decision: Any) -> str:
        """The request id of a change: that of the same one before, whose answer may have been lost."""
        return str(uuid.uuid5(self._id, repr((candidate.id, candidate.revision, decision))))

    def _stay(self, why: str) -> bool:
        """Say why the candidate is still to be decided."""
        self._say(Text(why, style="yellow"))
        return False

    def _say(self, what: Any) -> None:
        # Standard output is the result's, for --json.
        self._session.err.print(what)
