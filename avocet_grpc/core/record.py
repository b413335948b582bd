"""A line of a shared file and the record in it, in the dialect of Python's `json`."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple

import msgspec
import xxhash
from msgspec.structs import force_setattr

from avocet_grpc.core.errors import InvalidField
from avocet_grpc.core.model import Candidate, Columns, ParsedLine, Record

MAX_ID_CHARACTERS = 512
MAX_NESTING = 500
MAX_LINE_BYTES = 64 << 20
"""A longer line is malformed, and never held in memory."""
MOST_DIGITS = 4_300
"""Of an integer that Python's `json` reads."""
_DIGITS = b"0123456789"
# Possessive, so that nothing is remembered of a long string; one that never ends reaches to the end.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(rb"[][{}]")

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_quick = msgspec.json.Decoder()
# The columns of a line if each has the usual type; `json` reads what is refused here.
_typical = msgspec.json.Decoder(Columns)


def is_valid_id(value: object) -> bool:
    """Return True for a string of 1 to 512 characters of valid Unicode without NUL (`Candidate.id` of the proto)."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= MAX_ID_CHARACTERS
        and "\0" not in value
        and not has_surrogate(value)
    )


def has_surrogate(text: str) -> bool:
    """Return True if the text holds a lone surrogate, which UTF-8 cannot carry."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def parse(raw: bytes) -> ParsedLine:
    """Read one line (no newline in it). Without a JSON object with a valid id, the result has no columns."""
    digest = digest_of(raw)
    if len(raw) > MAX_LINE_BYTES:
        return ParsedLine(raw, digest, None)
    if (columns := _typical_columns(raw)) is not None:
        return ParsedLine(raw, digest, columns)
    record = _load(raw)
    if record is None or not is_valid_id(record.get("id")):
        return ParsedLine(raw, digest, None)
    return ParsedLine(raw, digest, columns_of(record), record)


def malformed_reason(raw: bytes) -> str:
    """Say in plain words what is wrong with a malformed line; one that was too long to be held comes empty."""
    if not raw or len(raw) > MAX_LINE_BYTES:
        return f"the line is longer than {MAX_LINE_BYTES >> 20} MB"
    try:
        raw.decode("utf-8")
    except ValueError:
        return "the line is not UTF-8 text"
    if is_deeper(raw, MAX_NESTING):
        return f"the line nests deeper than {MAX_NESTING}"
    record = _load(raw)
    if record is None:
        return "the line is not a JSON object"
    if "id" not in record:
        return "the record has no id"
    return f"the id is not a string of 1 to {MAX_ID_CHARACTERS} characters of valid Unicode, none of them NUL"


def render(record: Record) -> ParsedLine:
    """Return a record of ours as the line that we write: ASCII-only JSON, keys in the record's own order."""
    raw = json.dumps(record).encode("ascii")
    return ParsedLine(raw, digest_of(raw), columns_of(record), record)


def check_length(line: ParsedLine, field: str) -> None:
    """Raise InvalidField, of the field that makes it so long, for a line that no file could have as a record."""
    if len(line.raw) > MAX_LINE_BYTES:
        raise InvalidField(field, f"would make the record's line longer than {MAX_LINE_BYTES >> 20} MB")


def is_our_spelling(line: ParsedLine) -> bool:
    """Return whether a line that holds a record has the very bytes that we would write for it."""
    return json.dumps(record_in(line)).encode("ascii") == line.raw


def digest_of(raw: bytes) -> bytes:
    """Return 16 bytes that tell lines apart by their bytes; every line of each file needs it, so it is fast."""
    return xxhash.xxh3_128_digest(raw)


def content_digest(record: Record) -> bytes:
    """Return 16 bytes that are equal for equal content, whatever the order of keys or the spelling of the line.

    A whole number is the same with and without a fraction: 1 and 1.0, 0 and -0.0. True is not 1, and NaN is NaN.
    """
    numbers = _numbers(record)
    return _digest(_whole(record) if numbers.whole_floats else record, is_finite=not numbers.non_finite)


def earlier_digests(record: Record) -> tuple[bytes, ...]:
    """Return what earlier versions gave as the `content_digest`: once with 1.0 apart from 1, and before version 4."""
    return _digest(record, is_finite=not _numbers(record).non_finite), _dialect_digest(record)


def is_content_digest(digest: bytes | None, record: Record) -> bool:
    """Return whether this or an earlier version gave the digest for the record's content."""
    return digest == content_digest(record) or digest in earlier_digests(record)


def is_same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal, by the rule of `content_digest`."""
    if one is other:
        return True
    if isinstance(one, str | None) or isinstance(other, str | None):
        return bool(one == other)
    return _canonical.encode(_whole_value(one)) == _canonical.encode(_whole_value(other))


def _digest(record: Record, *, is_finite: bool) -> bytes:
    # NaN would become null.
    if is_finite:
        try:
            return xxhash.xxh3_128_digest(msgspec.json.encode(record, order="sorted"))
        except (OverflowError, msgspec.MsgspecError, RecursionError, TypeError, ValueError):
            pass
    return _dialect_digest(record)


def _dialect_digest(record: Record) -> bytes:
    """Of what strict JSON cannot hold, or msgspec cannot write."""
    return hashlib.blake2b(_canonical.encode(record).encode("ascii"), digest_size=16).digest()


def record_in(line: ParsedLine) -> Record:
    """Return the record of a line that holds one; read once. Copy it before you change it."""
    if line.loaded is None:
        force_setattr(line, "loaded", load(line.raw))
    return line.loaded or {}


def content_of(line: ParsedLine) -> bytes:
    """Return the `content_digest` of a line that holds a record; worked out once."""
    if line.content is None:
        force_setattr(line, "content", content_digest(record_in(line)))
    return line.content or b""


def record_of(candidate: Candidate) -> Record:
    """Return the candidate's record. Copy it before you change it."""
    return load(candidate.raw) if candidate.loaded is None else candidate.loaded


def load(raw: bytes) -> Record:
    """Return the record of a line that is known to hold one: its nesting was checked when it was read first."""
    record = _loaded(raw)
    if not isinstance(record, dict):
        raise ValueError("the line holds no JSON object")
    return record


def line_text(raw: bytes) -> str:
    """Return the JSON text of a line that is known to hold a record, without what stands around it."""
    return raw.decode("utf-8").strip()


def difference(old: Record, new: Record) -> str:
    """JSON text of how `new` differs from `old`: the keys (`set`), and what each record has for them (`was`, `now`).

    Differences that ledgers of earlier versions hold have no `now`.
    """
    changed = [key for key in {**old, **new} if key not in old or key not in new or not is_same(old[key], new[key])]
    was = {key: old[key] for key in changed if key in old}
    return json.dumps({"set": changed, "was": was, "now": {key: new[key] for key in changed if key in new}})


def columns_of(record: Record) -> Columns:
    """Return what is queried of a record; a value of another type than the column's counts as absent."""
    return Columns(
        id=record["id"],
        status=_text(record, "status"),
        task_type=_text(record, "task_type"),
        model_name=_text(record, "model_name"),
        source=_text(record, "source"),
        benchmark_run_id=_text(record, "benchmark_run_id"),
        failure_category=_text(record, "failure_category"),
        label=_text(record, "label"),
        timestamp=_text(record, "timestamp"),
        quality_score=finite(record.get("quality_score")),
        task_id=_text(record, "task_id"),
        reviewed_at=_text(record, "reviewed_at"),
    )


def replace_surrogates(text: str) -> str:
    """Return the text with each lone surrogate as U+FFFD, so that UTF-8 can carry it."""
    if not has_surrogate(text):
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def _typical_columns(raw: bytes) -> Columns | None:
    """Return the columns of a usual line, at a quarter of what `json` costs; None if `json` has to look."""
    if not _is_quick(raw) or is_deeper(raw, MAX_NESTING):
        return None
    try:
        found = _typical.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return found if is_valid_id(found.id) else None


def _is_quick(raw: bytes) -> bool:
    """Return True if msgspec reads the line as `json` does, or refuses it."""
    return raw.isascii() and not has_too_many_digits(raw)


def has_too_many_digits(raw: bytes) -> bool:
    """Return True if more than MOST_DIGITS digits stand in a row. Each place is looked at twice at most."""
    for at in range(MOST_DIGITS, len(raw), MOST_DIGITS + 1):
        # So many in a row have one of these places among them.
        if raw[at : at + 1].isdigit():
            before, behind = raw[at - MOST_DIGITS : at], raw[at : at + MOST_DIGITS + 1]
            row = len(before) - len(before.rstrip(_DIGITS)) + len(behind) - len(behind.lstrip(_DIGITS))
            if row > MOST_DIGITS:
                return True
    return False


def is_deeper(raw: bytes, most: int) -> bool:
    """Return True if brackets of the JSON text nest deeper than `most`."""
    return raw.count(b"[") + raw.count(b"{") > most and _nesting(raw) > most


def _load(raw: bytes) -> Record | None:
    if is_deeper(raw, MAX_NESTING):
        return None
    value = _loaded(raw)
    return value if isinstance(value, dict) else None


def _loaded(raw: bytes) -> Any:
    """Return the JSON value as Python's `json` reads it, None if it refuses."""
    if _is_quick(raw):
        # `contextlib.suppress` would take a tenth of the time, for each line of a file.
        try:
            return _quick.decode(raw)
        except (msgspec.MsgspecError, RecursionError):
            pass
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _nesting(raw: bytes) -> int:
    """Return the deepest nesting of brackets outside of strings."""
    depth = deepest = 0
    for found in _BRACKET.finditer(_STRING.sub(b"", raw)):
        if found[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


class _Numbers(NamedTuple):
    """Whether floats that are whole numbers, and NaN or an Infinity, are anywhere in a value."""

    whole_floats: bool
    non_finite: bool


def _numbers(value: dict[str, Any] | list[Any]) -> _Numbers:
    """A plain loop without recursion: it runs for each record, of any nesting."""
    whole_floats = non_finite = False
    left: list[Any] = [value]
    while left:
        some = left.pop()
        for each in some.values() if type(some) is dict else some:
            kind = type(each)
            if kind is str:
                continue
            if kind is float:
                if each - each != 0:
                    non_finite = True
                elif each.is_integer():
                    whole_floats = True
            elif kind is dict or kind is list:
                left.append(each)
    return _Numbers(whole_floats, non_finite)


def _whole(record: Record) -> Record:
    """Return the record with an integer in place of each float that is a whole number."""
    return {key: value if type(value) is str else _whole_value(value) for key, value in record.items()}


def _whole_value(value: Any) -> Any:
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if isinstance(value, dict | list) and _numbers(value).whole_floats:
        # By way of its text, since that works at any nesting.
        return json.loads(_canonical.encode(value), parse_float=lambda text: _whole_value(float(text)))
    return value


def _text(record: Record, key: str) -> str | None:
    value = record.get(key)
    return replace_surrogates(value) if isinstance(value, str) else None


def finite(value: object) -> float | None:
    """Return the double that is nearest to a number; None for NaN, Infinity, larger numbers, and what is not a number.

    So what is served as a number is what filters, orders and exports see.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number - number == 0 else None
