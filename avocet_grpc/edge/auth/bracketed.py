"""Changing a tokens file in flow style: `[{name: ..}, {name: ..}]`, over one line or many; JSON is such a text too.

The editor of other files loses comments of such a list. Here text is cut out or put in, and all else stays. Anchors and
comments between an entry and its comma may break the outcome, so the caller reads it again and compares.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import yaml


def is_bracketed(text: str) -> bool:
    """Return True for a list in flow style that has entries. The text must be valid YAML."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return isinstance(node, yaml.SequenceNode) and bool(node.flow_style) and bool(node.value)


def with_entry(text: str, entry: dict[str, Any]) -> str:
    """Return the text with one more entry behind its last one, on a line of its own if that one has one."""
    *_, last = _entries(text)
    line = text[text.rfind("\n", 0, last.start_mark.index) + 1 : last.start_mark.index]
    space = f"\n{line}" if last.start_mark.line and not line.strip() else " "
    return _put(text, last.end_mark.index, last.end_mark.index, f",{space}{_shown(entry)}")


def without(text: str, chosen: Callable[[str], bool]) -> str:
    """Return the text without the entries whose digests are chosen; a comma that ends the list means nothing."""
    for node in reversed(_entries(text)):
        if chosen(_digest(node)):
            end = node.end_mark.index
            rest = text[end:].lstrip()
            text = _put(text, node.start_mark.index, len(text) - len(rest) + 1 if rest[0] == "," else end, "")
    return text


def with_end(text: str, chosen: Callable[[str], bool], ends: datetime) -> str:
    """Return the text with this end in the entries whose digests are chosen."""
    for node in reversed(_entries(text)):
        if chosen(_digest(node)):
            old = next((value for key, value in node.value if key.value == "expires"), None)
            last = node.value[-1][1].end_mark.index
            if old is None:
                text = _put(text, last, last, f", expires: {ends.isoformat()}")
            else:
                text = _put(text, old.start_mark.index, old.end_mark.index, ends.isoformat())
    return text


def _entries(text: str) -> list[yaml.MappingNode]:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return [] if node is None else list(node.value)


def _digest(node: yaml.MappingNode) -> str:
    return next(str(value.value).lower() for key, value in node.value if key.value == "sha256")


def _put(text: str, start: int, end: int, part: str) -> str:
    return text[:start] + part + text[end:]


def _shown(entry: dict[str, Any]) -> str:
    """Return the entry in flow style; quoted, so that a file that was JSON stays JSON. A date has no quotes in YAML."""
    pairs = (f'"{key}": {value if isinstance(value, date) else json.dumps(value)}' for key, value in entry.items())
    return f"{{{', '.join(pairs)}}}"
