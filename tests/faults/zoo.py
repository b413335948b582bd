"""The malformed zoo: lines that other programs may leave in the files, and what the service must make of each.

`MALFORMED` lines are never served, never dropped, never changed. `RECORDS` are lines that Python's `json` accepts, with
the id they are served under. `REPEATED` are the later lines of ids that stand in the file already.
"""

from __future__ import annotations

import json

from tests.support import record

BIG = 20 * 1024 * 1024
"""Bytes of the longest line."""
MAX_DIGITS = 4_300
"""Of an integer, to Python's json."""


def line(id: str, **changes: object) -> bytes:
    """A record as other programs write it, with these keys changed."""
    return json.dumps(record(id, **changes)).encode()


def with_value(id: str, value: bytes) -> bytes:
    """A record with the key `extra`, whose value stands there as these bytes."""
    return line(id)[:-1] + b', "extra": ' + value + b"}"


MALFORMED: dict[str, bytes] = {
    "a NUL byte": b"\0",
    "NULs for a line": b"\0" * 300,
    "a NUL inside a record": line("nul").replace(b"heron", b"he\0ron", 1),
    "a byte order mark": b"\xef\xbb\xbf" + line("bom"),
    "invalid UTF-8": line("latin").replace(b"summary", b"\xe9t\xe9").replace(b"code", b"\xe9t\xe9"),
    "an overlong encoding": with_value("overlong", b'"\xc0\xaf"'),
    "a raw surrogate": with_value("raw-surrogate", b'"\xed\xa0\x80"'),
    "UTF-16": line("utf16").decode().encode("utf-16-be").replace(b"\n", b""),
    "an integer of 5,000 digits": with_value("digits", b"7" * 5_000),
    "lists nested 100,000 deep": with_value("deep", b"[" * 100_000 + b"]" * 100_000),
    "objects nested 100,000 deep": with_value("deep-objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "lists nested 501 deep": with_value("deep501", b"[" * 500 + b"]" * 500),
    "unclosed lists": b"[" * 100_000,
    "a list": b'["id", "of", "a", "list"]',
    "a string": b'"id"',
    "a number": b"17",
    "null": b"null",
    "no id": json.dumps({"status": "needs_review", "model_response": "whose?"}).encode(),
    "an empty id": line(""),
    "an id that is a number": json.dumps(record("x") | {"id": 17}).encode(),
    "an id that is null": json.dumps(record("x") | {"id": None}).encode(),
    "an id of 513 characters": line("i" * 513),
    "an id with a lone surrogate": json.dumps(record("x") | {"id": "\ud800"}).encode(),
    "an id that becomes a number": line("last-id-wins")[:-1] + b', "id": 5}',
    "half a record": line("half")[:60],
    "two records on one line": line("first") + line("second"),
    "a trailing comma": line("comma")[:-1] + b",}",
    "single quotes": b"{'id': 'quotes'}",
    "a comment": b"# by hand, do not delete",
    "other words for NaN": with_value("nan-word", b"nan"),
    "a raw control character": with_value("control", b'"\x01"'),
}

RECORDS: dict[str, tuple[str, bytes]] = {
    "CRLF": ("crlf", line("crlf") + b"\r"),
    "blanks around it": ("blanks", b" \t " + line("blanks") + b"  "),
    "NaN and Infinity": ("nan", with_value("nan", b"[NaN, Infinity, -Infinity]")),
    "NaN as a quality": ("nan-quality", line("nan-quality", quality_score=float("nan"))),
    "an integer of 4,300 digits": ("long", with_value("long", b"7" * MAX_DIGITS)),
    "a number beyond doubles": ("huge", with_value("huge", b"1e999")),
    "an integer quality beyond doubles": ("huge-quality", line("huge-quality", quality_score=10**400)),
    "a lone surrogate": ("surrogate", line("surrogate", model_response="half \ud83d of a pair")),
    "an escaped NUL in a text": ("nul-text", line("nul-text", model_response="a\0b")),
    "duplicate keys": ("duplicate-keys", line("duplicate-keys")[:-1] + b', "task_name": "the last one wins"}'),
    "the id twice": ("last", line("not-this")[:-1] + b', "id": "last"}'),
    "lists nested 499 deep": ("deep499", with_value("deep499", b"[" * 499 + b"]" * 499)),
    "brackets inside a text": ("brackets", line("brackets", model_response="[" * 2_000)),
    "line separators": ("separators", '{"id": "separators", "note": "\u2028\u2029\x85"}'.encode()),
    "raw UTF-8": ("utf8", json.dumps(record("utf8", model_response="Größe 😀"), ensure_ascii=False).encode()),
    "an id of 512 characters": ("ü" * 512, line("ü" * 512)),
    "an id only": ("bare", b'{"id": "bare"}'),
    "keys of other types": (
        "types",
        b'{"id": "types", "status": 5, "prompt_messages": "none", "gpu_id": "x", "quality_score": "0.5", "label": []}',
    ),
    "another status word": ("pending", line("pending", status="pending")),
    "a line of 20 MB": ("big", line("big", model_response="x" * BIG)),
}

REPEATED: dict[str, bytes] = {
    "the same id twice": line("bare", task_name="second"),
    "the same bytes twice": b'{"id": "bare"}',
}


def zoo() -> bytes:
    """All of it as one file, with blank lines in between."""
    lines = [*MALFORMED.values(), *(raw for _, raw in RECORDS.values()), *REPEATED.values()]
    return b"\n\n \n".join(lines) + b"\n\n"
