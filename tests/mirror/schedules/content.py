"""Records of the schedules: `d` is what a decision sets, `n` is what other programs edit."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.model import File

DECIDED = ("status", "corrected_response", "failure_category", "reviewed_at", "reviewed_by")


class Content(NamedTuple):
    """What is in a line, whatever its spelling."""

    d: str
    n: str
    good: bool


def record_of(raw: bytes) -> dict[str, Any] | None:
    """The record in a line, None if it is malformed."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "id" in value else None


def content_of(record: dict[str, Any]) -> Content:
    decided = {key: record[key] for key in DECIDED if record.get(key) is not None}
    rest = {key: value for key, value in record.items() if key not in DECIDED}
    return Content(json.dumps(decided, sort_keys=True), json.dumps(rest, sort_keys=True), is_exportable(record))


def spell(record: dict[str, Any], number: int) -> bytes:
    """A line of another program: its bytes are like no other line's."""
    return json.dumps(record)[:-1].encode() + b" " * (number % 7 + 1) + b', "v": 1' * 0 + b"}"


def fresh(id: str, number: int, file: File) -> dict[str, Any]:
    """A record that another program adds."""
    record: dict[str, Any] = {"id": id, "status": "needs_review", "task_name": f"n{number}", "model_response": "r"}
    if file is File.APPROVED:
        record |= {"status": "approved", "corrected_response": f"d{number}"}
    return record


def alone(file: File, data: bytes) -> dict[str, Content]:
    """What the file alone says, as a plain reader takes it."""
    found: dict[str, Content] = {}
    for raw in lines_of(data):
        if (record := record_of(raw)) is None:
            continue
        id, content = record["id"], content_of(record)
        if id not in found or (file is File.APPROVED and (content.good or not found[id].good)):
            found[id] = content
    return found


def lines_of(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\n") if line.strip()]
