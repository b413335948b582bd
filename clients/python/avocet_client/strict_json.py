"""Strict JSON: null in place of NaN and Infinity, and U+FFFD in place of each lone surrogate.

Readers of training files refuse what Python's `json` writes for those. The work is done on the text, so that no depth
of nesting fails.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ESCAPE = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})|\\.", re.IGNORECASE)
"""An escape in ASCII-only JSON text; the group holds it if it is a lone surrogate."""

_STRING_OR_CONSTANT = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(NaN|-?Infinity)')
"""A string, or in the group a constant that strict JSON does not have. Possessive: nothing is kept of a long string."""


def dumps(value: Any) -> str:
    """Return the value as ASCII-only strict JSON text."""
    text = json.dumps(value)
    if "\\ud" in text:
        clean = _ESCAPE.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
        text = json.dumps(json.loads(clean))  # two keys of an object may have become the same one
    if "NaN" in text or "Infinity" in text:
        text = _STRING_OR_CONSTANT.sub(lambda found: "null" if found[1] else found[0], text)
    return text


def loads(text: str) -> Any:
    """Return the value of JSON text in Python's dialect, as strict JSON has it."""
    return json.loads(dumps(json.loads(text)))
