"""What the reviewer types: the correction as a text, or as a message with tool calls."""

from __future__ import annotations

from avocet_client.cli.candidate_view import context_lines
from avocet_client.cli.review.drafts import MESSAGE, TEXT, Drafts
from avocet_client.cli.review.message_draft import has_calls, read_message, template
from avocet_client.cli.review.talk import Back, Talk
from avocet_client.cli.review.wording import UNCHANGED
from avocet_client.messages import Message
from avocet_client.v1 import corrections_pb2 as pb


class Corrections:
    """Opens the editor on a candidate, and keeps what was typed."""

    def __init__(self, talk: Talk, drafts: Drafts) -> None:
        self._talk = talk
        self._drafts = drafts

    def text(self, candidate: pb.Candidate) -> str:
        """Return the correction as a text. Raises Back."""
        return self._typed(candidate, TEXT, candidate.model_response, may_stay=True)

    def message(self, candidate: pb.Candidate) -> Message:
        """Return the correction as a message with tool calls. Raises Back, also for what is not one."""
        typed = self._typed(candidate, MESSAGE, template(candidate), may_stay=has_calls(candidate))
        try:
            return read_message(typed)
        except ValueError as error:
            raise Back(f"{error} Press t to mend it.") from None

    def _typed(self, candidate: pb.Candidate, form: str, start: str, may_stay: bool) -> str:
        """Return what the reviewer makes of the draft, or of `start`, which may stay as it is. Raises Back."""
        draft = self._drafts.of(candidate.id, form)
        begin = start.replace("\r\n", "\n") if draft is None else draft.text
        try:
            with self._talk.lent():
                typed, was_saved = self._drafts.edit(candidate.id, form, begin, context_lines(candidate))
        except ValueError as error:
            raise Back(str(error)) from None
        if not typed.strip():
            raise Back("There is no text, so nothing is submitted.")
        if typed == start and not may_stay:
            raise Back("Nothing was changed, so nothing is submitted.")
        if typed != begin or was_saved:
            self._drafts.keep(candidate.id, form, typed)
            return typed
        self._talk.ask(UNCHANGED, "y")
        return begin if draft else start
