"""A record as the wire's messages. Prompts are lists of messages or strings; other forms stand in `prompt_json`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CATEGORIES, STATUSES

Record = dict[str, Any]

TEXTS = (
    "id", "source", "benchmark_run_id", "timestamp", "corrected_response", "failure_reason", "task_id", "task_type",
    "task_name", "model_id", "model_name", "node_id", "label", "reviewed_at", "reviewed_by",
)  # fmt: skip
NUMBERS = ("quality_score", "tokens_per_sec")
WORDS: Mapping[str, Mapping[str, int]] = {"status": STATUSES, "failure_category": CATEGORIES}
METADATA = ("source", "task_type", "model_name", "benchmark_run_id", "failure_category", "label", "quality_score")


def text_of(record: Record, key: str) -> str | None:
    """Return the value of a key if it is a string."""
    value = record.get(key)
    return value if isinstance(value, str) else None


def quality_of(record: Record) -> float | None:
    return _finite(record.get("quality_score"))


def prompt_of(record: Record) -> list[Record] | None:
    """Return the messages of the prompt, none if there is no prompt; None if it is of a form that is not read here."""
    value = record.get("prompt_messages")
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if value is None:
        return []
    good = isinstance(value, list) and all(isinstance(each, dict) and each.get("role") for each in value)
    return value if good else None


def prompt_digest(record: Record) -> str:
    messages = prompt_of(record)
    if not messages:
        return ""
    text = json.dumps(messages, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def is_exportable(record: Record) -> bool:
    correction = text_of(record, "corrected_response")
    return (
        record.get("status") == "approved" and prompt_of(record) is not None and bool(correction and correction.strip())
    )


def candidate_message(record: Record, revision: int, *, include_record: bool = False) -> pb.Candidate:
    """Return the record as reviewers see it; what no typed field holds is in `extra_json`."""
    typed, rest = _fitted(record)
    made = pb.Candidate(**typed, revision=revision, prompt_digest=prompt_digest(record))
    value = rest.pop("prompt_messages", None)
    messages = prompt_of(record)
    if messages is None:
        made.prompt_json = json.dumps(value)
    else:
        made.prompt_messages.extend(chat_message(message) for message in messages)
    response = rest.pop("model_response", None)
    if isinstance(response, str):
        made.model_response = response
    elif response is not None:
        made.model_response_json = json.dumps(response)
    if isinstance(message := rest.get("corrected_message"), dict):
        made.corrected_message.CopyFrom(chat_message(message))
        del rest["corrected_message"]
    if isinstance(tools := rest.get("tools"), list) and tools:
        made.tools_json = json.dumps(rest.pop("tools"))
    made.extra_json = json.dumps(rest) if rest else ""
    made.record_json = json.dumps(record) if include_record else ""
    return made


def example_message(record: Record, approved_revision: int) -> pb.TrainingExample:
    """Return an exportable record as trainers see it."""
    typed, _ = _fitted({key: record[key] for key in METADATA if key in record})
    message = record.get("corrected_message") or {"content": record["corrected_response"]}
    response, tools = record.get("model_response"), record.get("tools")
    return pb.TrainingExample(
        id=record["id"],
        messages=[chat_message(each) for each in [*(prompt_of(record) or []), message | {"role": "assistant"}]],
        rejected=response if isinstance(response, str) else "",
        rejected_json="" if response is None or isinstance(response, str) else json.dumps(response),
        tools_json=json.dumps(tools) if isinstance(tools, list) and tools else "",
        metadata=pb.TrainingMetadata(**typed, approved_revision=approved_revision),
    )


def chat_message(message: Record) -> pb.ChatMessage:
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    made = pb.ChatMessage(role=message.get("role") or "", extra_json=json.dumps(rest) if rest else "")
    if isinstance(message.get("content", ""), str):
        if "content" in message:
            made.content = message["content"]
    else:
        made.content_json = json.dumps(message["content"])
    return made


def message_record(message: pb.ChatMessage) -> Record:
    """Return a corrected message as the record gets it."""
    content = {"content": message.content} if message.HasField("content") else {}
    extra: Record = json.loads(message.extra_json or "{}")
    return {"role": "assistant"} | content | extra


def _finite(value: object) -> float | None:
    """Return the nearest double of a number; None for NaN, Infinity, larger numbers, and what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _fitted(record: Record) -> tuple[dict[str, Any], Record]:
    """Return the typed fields, and every key that none of them holds. A null is an unset field."""
    typed: dict[str, Any] = {}
    rest: Record = {}
    for key, value in record.items():
        number = _finite(value)
        if key in WORDS and isinstance(value, str) and value in WORDS[key]:
            typed[key] = WORDS[key][value]
        elif (key in TEXTS and isinstance(value, str)) or (
            key == "gpu_id" and number is not None and isinstance(value, int)
        ):
            typed[key] = value
        elif key in NUMBERS and number is not None:
            typed[key] = number
            if number != value:
                rest[key] = value
        elif value is not None or key not in (*TEXTS, *NUMBERS, *WORDS, "gpu_id", "corrected_message"):
            rest[key] = value
    return typed, rest
