"""A shared file as a plain reader sees it: split at newlines, blank lines skipped."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class View:
    """What one read showed. `torn` is what stands behind the last newline."""

    ids: Counter[str] = field(default_factory=Counter)
    records: dict[str, Any] = field(default_factory=dict)
    unreadable: list[bytes] = field(default_factory=list)
    torn: bytes = b""

    def twice(self) -> list[str]:
        return [id for id, times in self.ids.items() if times > 1]


def read_plainly(data: bytes) -> View:
    """Each record by its id (the first line of an id counts), and the lines that are not records."""
    view = View()
    *whole, view.torn = data.split(b"\n")
    for line in whole:
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            id = record["id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            view.unreadable.append(line)
            continue
        view.ids[id] += 1
        view.records.setdefault(id, record)
    return view
