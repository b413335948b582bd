"""A line of a file of records, and JSON text for the wire, as the service reads and writes them."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from typing import Any

Record = dict[str, Any]

MAX_ID = 512
MAX_NESTING = 500
NOT_TEXT = "the line is not UTF-8 text"
_SURROGATE = re.compile("[\ud800-\udfff]")
# Possessive, so that nothing is remembered of a long string; one that never ends reaches to the end.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def without_surrogates(text: str) -> str:
    """Return the text with U+FFFD in place of each lone surrogate, which UTF-8 cannot carry."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def python_json(value: Any, **options: Any) -> str:
    """Return the value as ASCII-only text in the dialect of Python's `json`, without lone surrogates, in keys too."""
    return json.dumps(_clean(value), **options)


def is_id(value: object) -> bool:
    """Return True for what the id of a record may be."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID:
        return False
    return "\0" not in value and _SURROGATE.search(value) is None


def is_deeper(text: str, most: int = MAX_NESTING) -> bool:
    """Return True if brackets of the JSON text, outside of its strings, nest deeper than `most`."""
    depth = 0
    for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > most:
            return True
    return False


def loaded(text: str) -> Any:
    """Return the JSON value of a text, None if it has none or nests too deep."""
    try:
        return None if is_deeper(text) else json.loads(text)
    except ValueError:
        return None


def read_lines(lines: Sequence[bytes]) -> Iterator[tuple[int, Record | str]]:
    """Yield the number of each line that is not blank, and its record, or in plain words why it has none."""
    for number, line in enumerate(lines, 1):
        raw = line.removeprefix(BOM_UTF8) if number == 1 else line
        if raw.strip():
            yield number, _read(raw)


def content_of(value: Any) -> str:
    """Return a text that is the same for the same content: 1 and 1.0 are, 1 and true are not; keys have any order."""

    def number(text: str) -> float:
        found = float(text)
        return int(found) if found.is_integer() else found

    return json.dumps(json.loads(json.dumps(value), parse_float=number), sort_keys=True)


def _clean(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    clean = without_surrogates(text)
    return value if clean == text else json.loads(clean)


def _read(raw: bytes) -> Record | str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return NOT_TEXT
    if is_deeper(text):
        return f"the line nests deeper than {MAX_NESTING}"
    if not isinstance(record := loaded(text), dict):
        return "the line is not a JSON object"
    if "id" not in record:
        return "the record has no id"
    if is_id(record["id"]):
        return record
    return f"the id is not a string of 1 to {MAX_ID} characters of valid Unicode, none of them NUL"
