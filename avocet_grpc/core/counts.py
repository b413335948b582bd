"""Counts by word, of which other programs may write very many, and very long ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

MOST_WORDS = 1_000
MOST_WORD_BYTES = 500_000
"""Of one map: five of them stay below the 4 MB that clients read by default."""
WORD_OVERHEAD = 16
"""Bytes of a map's entry beside its word."""
OTHER = "other"


def largest(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the words with the largest counts, as many as a map may have. The others count under `other`."""
    kept: dict[str, int] = {}
    left, room = 0, MOST_WORD_BYTES
    for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        # A status word comes as it was read, and may have lone surrogates.
        size = len(word.encode(errors="surrogatepass")) + WORD_OVERHEAD
        if len(kept) < MOST_WORDS and size <= room:
            kept[word] = count
            room -= size
        else:
            left += count
    if left:
        kept[OTHER] = kept.get(OTHER, 0) + left
    return kept


def added(counts: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Return the sums by word. They stay small however often this is called: what is rare may count under `other`."""
    sums = Counter(counts)
    sums.update(more)
    if len(sums) <= 2 * MOST_WORDS and sum(map(len, sums)) <= 2 * MOST_WORD_BYTES:
        return dict(sums)
    return largest(sums)
