"""A record as the wire's messages: a candidate for reviewers, an example for trainers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import avocet_client.strict_json as strict_json
from avocet_client.testing import forms
from avocet_client.testing.lines import Record, python_json, without_surrogates
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CATEGORIES, STATUSES

TEXTS = (
    "id", "source", "benchmark_run_id", "timestamp", "corrected_response", "failure_reason", "task_id", "task_type",
    "task_name", "model_id", "model_name", "node_id", "label", "reviewed_at", "reviewed_by",
)  # fmt: skip
NUMBERS = ("quality_score", "tokens_per_sec")
WORDS: Mapping[str, Mapping[str, int]] = {"status": STATUSES, "failure_category": CATEGORIES}
METADATA = ("source", "task_type", "model_name", "benchmark_run_id", "failure_category", "label", "quality_score")
INT32 = range(-(2**31), 2**31)
Dump = Callable[[Any], str]
"""`python_json` for reviewers, `strict_json.dumps` for trainers."""


def quality_of(record: Record) -> float | None:
    return _finite(record.get("quality_score"))


def candidate_message(record: Record, revision: int, *, include_record: bool = False) -> pb.Candidate:
    """Return the record as reviewers see it; what no typed field holds is in `extra_json`."""
    typed, rest = _fitted(record)
    made = pb.Candidate(**typed, revision=revision, prompt_digest=forms.prompt_digest(record))
    value = rest.pop("prompt_messages", None)
    messages = forms.prompt_of(record)
    if messages is None:
        made.prompt_json = python_json(value)
    else:
        made.prompt_messages.extend(chat_message(message) for message in messages)
    response = rest.pop("model_response", None)
    made.model_response = forms.response_of(record)
    if response is not None and not isinstance(response, str):
        made.model_response_json = python_json(response)
    # A number is served as text, and stays in `extra_json` too, since only that keeps its type.
    if "corrected_response" in rest and (text := forms.correction_of(record)) is not None:
        made.corrected_response = text
    if (message := forms.corrected_message_of(record)) is not None:
        made.corrected_message.CopyFrom(chat_message(message))
        del rest["corrected_message"]
    if (tools := forms.tools_of(record)) is not None:
        made.tools_json = python_json(tools)
        del rest["tools"]
    made.extra_json = python_json(rest) if rest else ""
    made.record_json = json.dumps(record) if include_record else ""
    return made


def example_message(record: Record, approved_revision: int) -> pb.TrainingExample:
    """Return an exportable record as trainers see it, in strict JSON."""
    typed, _ = _fitted({key: record[key] for key in METADATA if key in record})
    message = forms.corrected_message_of(record) or {"content": forms.correction_of(record) or ""}
    messages = [*(forms.prompt_of(record) or []), message | {"role": "assistant"}]
    response, tools = record.get("model_response"), forms.tools_of(record)
    no_json = response is None or isinstance(response, str) or _is_not_finite(response)
    return pb.TrainingExample(
        id=record["id"],
        messages=[chat_message(each, strict_json.dumps) for each in messages],
        rejected=forms.response_of(record),
        rejected_json="" if no_json else strict_json.dumps(response),
        tools_json="" if tools is None else strict_json.dumps(tools),
        metadata=pb.TrainingMetadata(**typed, approved_revision=approved_revision),
    )


def chat_message(message: Record, dump: Dump = python_json) -> pb.ChatMessage:
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    role, content = message.get("role"), message.get("content", "")
    made = pb.ChatMessage(role=without_surrogates(role or ""), extra_json=dump(rest) if rest else "")
    if not isinstance(content, str):
        made.content_json = dump(content)
    elif "content" in message:
        made.content = without_surrogates(content)
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


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _fitted(record: Record) -> tuple[dict[str, Any], Record]:
    """Return the typed fields, and every key that none of them holds. A null is an unset field."""
    typed: dict[str, Any] = {}
    rest: Record = {}
    for key, value in record.items():
        number = _finite(value)
        if key in WORDS and isinstance(value, str) and value in WORDS[key]:
            typed[key] = WORDS[key][value]
        elif key in TEXTS and isinstance(value, str):
            typed[key] = without_surrogates(value)
        elif key == "gpu_id" and number is not None and isinstance(value, int) and value in INT32:
            typed[key] = value
        elif key in NUMBERS and number is not None:
            typed[key] = number
            if number != value:
                rest[key] = value
        elif value is not None or key not in (*TEXTS, *NUMBERS, *WORDS, "gpu_id", "corrected_message"):
            rest[key] = value
    return typed, rest
