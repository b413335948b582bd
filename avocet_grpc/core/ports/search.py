"""What the core asks of an index of texts, if there is one."""

from __future__ import annotations

from typing import Protocol


class Search(Protocol):
    """Narrows a search down to candidates that may have a text. Whoever asks looks at each of them again."""

    def level(self) -> int | None:
        """Return the revision up to which all candidates are in the index; None while it is built, or if it fails."""

    def keys(self, text: str, after_key: int, limit: int) -> list[int] | None:
        """Return the first keys above `after_key`, in order, of candidates that may have the text.

        None if the index cannot tell.
        """
