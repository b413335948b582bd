"""What the review says, and what the reviewer answers with one key."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import RenderableType

from avocet_client.cli.review.keys import ESCAPE, RESIZED, Keys
from avocet_client.cli.screen import Screen, text

ENTER = "\n"


class Back(Exception):
    """The reviewer goes back to the candidate without a decision; the words say more, if there are any."""


class Gone(Exception):
    """The terminal is gone."""


class Talk:
    """The screen and the keyboard.

    A message is shown just above the next question, so that no candidate is too long for it. `redraw` is called when
    the terminal has got another size.
    """

    def __init__(self, screen: Screen, keys: Keys) -> None:
        # Standard output is the result's, for --json.
        self.screen = screen
        self._keys = keys
        self._said: list[RenderableType] = []
        self.redraw: Callable[[], None] = lambda: None

    def show(self, what: RenderableType) -> None:
        """Print it now."""
        self.screen.print(what, crop=False)  # an id stays whole

    def say(self, what: str, style: str = "") -> None:
        """Print a sentence before the next question."""
        self._said.append(text(what, style=style))

    def warn(self, what: str) -> None:
        """Print a sentence that the reviewer must not miss before the next question."""
        self.say(what, "yellow")

    def ask(self, question: str, answers: str) -> str:
        """Return the key among `answers` that the reviewer presses. Raises Back for Esc, Gone without a terminal."""
        key = self.key(question)
        while key not in answers:
            if key == ESCAPE:
                raise Back
            key = self.key(question)
        return key

    def key(self, question: str) -> str:
        """Return the next key, whichever it is. Raises Gone if the terminal is."""
        self._put(question)
        while (key := self._keys.read()) == RESIZED:
            self.redraw()
            self._put(question)
        if not key:
            raise Gone
        return key

    def flush(self) -> None:
        """Print what was said."""
        said, self._said = self._said, []
        for each in said:
            self.show(each)

    def _put(self, question: str) -> None:
        self.flush()
        self.show(text(question, style="bold"))

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Let another program have the terminal."""
        with self._keys.lent():
            yield
