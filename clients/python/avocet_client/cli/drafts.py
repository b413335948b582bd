"""Corrections that a reviewer has typed: none is lost before the service has stored it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator


class Drafts:
    """The corrections of one review, by candidate: what was typed last, and whether it still has to be stored."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._unsent: set[str] = set()

    def typed(self, id: str, text: str) -> None:
        """Keep a correction that was typed."""
        self._texts[id] = text
        self._unsent.add(id)

    def stored(self, id: str) -> None:
        """The service has stored the correction. It is offered again if the decision is taken back."""
        self._unsent.discard(id)

    def of(self, id: str) -> str | None:
        """Return the candidate's correction that was typed last, stored or not."""
        return self._texts.get(id)

    def is_unsent(self, id: str) -> bool:
        """Tell whether a correction of the candidate was typed and is not stored."""
        return id in self._unsent

    def rescued(self) -> Iterator[tuple[str, str]]:
        """Write each correction that is not stored to a file of its own; yield candidate and path."""
        for id in sorted(self._unsent):
            yield id, kept(self._texts[id])


def kept(text: str) -> str:
    """Write the text to a new private file, and return its path."""
    descriptor, path = tempfile.mkstemp(prefix="avocet-correction-", suffix=".md")
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return path
