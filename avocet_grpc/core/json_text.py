"""JSON text for the wire: lone surrogates become U+FFFD, and strict JSON has neither NaN nor Infinity.

The work is done on the text that Python's `json` writes, not on the values, so that no depth of nesting fails.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

DELETE = b"\x7f"
_PLAIN = frozenset({str})
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_ESCAPE = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})|\\.")
"""An escape in ASCII-only JSON text; the group holds it if it is a lone surrogate."""

_STRING_OR_CONSTANT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(NaN|-?Infinity)')
"""A string, or in the group a constant that strict JSON does not have. Possessive: nothing is kept of a long string."""


def without_surrogates(value: Any) -> Any:
    """Return the JSON value with U+FFFD in place of each lone surrogate, in keys too."""
    text = json.dumps(value)
    if "\\ud" not in text:
        return value
    return json.loads(_ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text))


def python_json(value: Any) -> str:
    """Return the value as ASCII-only JSON text in the dialect of Python's `json`, without lone surrogates."""
    text = json.dumps(value)
    return json.dumps(without_surrogates(value)) if "\\ud" in text else text


def canonical_json(value: Any) -> str:
    """As `python_json`, with sorted keys and without spaces. 1 and 1.0 stay apart, as in `json.dumps`."""
    text = _sorted.encode(value)
    return canonical_json(without_surrogates(value)) if _has_surrogate(text) else text


def canonical_messages(messages: list[dict[str, Any]]) -> bytes:
    """Return the `canonical_json` of messages in ASCII; those of plain text, which most are, at a tenth of its cost."""
    if all({*map(type, message.values())} <= _PLAIN for message in messages):
        try:
            text = msgspec.json.encode(messages, order="sorted")
            # What Python escapes and msgspec does not.
            if text.isascii() and DELETE not in text:
                return text
        except UnicodeEncodeError:
            pass
    return canonical_json(messages).encode("ascii")


def strict_json(value: Any) -> str:
    """As `python_json`, with null in place of NaN and Infinity."""
    text = python_json(value)
    if "NaN" not in text and "Infinity" not in text:
        return text
    return _STRING_OR_CONSTANT.sub(lambda found: "null" if found[1] else found[0], text)


def _has_surrogate(text: str) -> bool:
    return "\\ud" in text and any(found[1] for found in _ESCAPE.finditer(text))
