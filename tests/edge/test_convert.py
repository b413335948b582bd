"""Any record that Python's `json` reads becomes a message, and nothing of it is lost."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core import forms
from avocet_grpc.core.export import is_exportable
from avocet_grpc.core.json_text import without_surrogates
from avocet_grpc.core.model import Candidate, Record
from avocet_grpc.edge.convert import candidate_message, encode_example
from avocet_grpc.edge.enums import CATEGORIES, STATUSES

MEANT = (
    "id", "source", "benchmark_run_id", "timestamp", "status", "prompt_messages", "model_response",
    "corrected_response", "quality_score", "failure_reason", "task_id", "task_type", "task_name", "model_id",
    "model_name", "node_id", "gpu_id", "tokens_per_sec", "label", "failure_category", "tools", "corrected_message",
    "reviewed_at", "reviewed_by",
)  # fmt: skip
WORDS = ("role", "content", "from", "value", "messages", "conversations", "tool_calls", "text", "type", "name")
TEXT = st.text(st.characters(codec=None), max_size=5) | st.sampled_from(["approved", "human", "function_call", "[{}]"])
WORD = TEXT.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(float("nan")) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
MESSAGE = (
    st.fixed_dictionaries({"role": WORD, "content": JSON}, optional={"tool_calls": JSON, "name": JSON})
    | st.fixed_dictionaries({"from": WORD, "value": TEXT}, optional={"weight": JSON})
    | st.fixed_dictionaries({"role": TEXT}, optional={"content": JSON, "from": TEXT, "value": JSON})
)
OBJECT = st.fixed_dictionaries({"messages": st.lists(MESSAGE, max_size=2)}, optional={"lang": JSON})
PROMPT = JSON | st.lists(MESSAGE, max_size=3) | OBJECT
RECORD = st.fixed_dictionaries(
    {"id": st.just("a")},
    optional={
        "quality_score": st.integers() | st.floats(),
        "gpu_id": st.integers(),
        "prompt_messages": PROMPT,
        "model_response": JSON,
        "corrected_response": JSON,
        "tools": JSON | st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2),
        "status": TEXT,
    },
).flatmap(
    lambda record: st.dictionaries(TEXT | st.sampled_from(MEANT), JSON, max_size=4).map(lambda more: more | record)
)


def candidate(record: Record) -> Candidate:
    return Candidate(1, json.dumps(record).encode(), 7)


def plain(message: pb.ChatMessage) -> Record:
    """The message as one object."""
    content: Record = {"content": message.content} if message.HasField("content") else {}
    if message.content_json:
        content = {"content": json.loads(message.content_json)}
    return {"role": message.role} | content | (json.loads(message.extra_json) if message.extra_json else {})


def rebuilt(made: Any) -> Record:
    """The record as a client puts it together again: the typed fields, and over them what no type could hold."""
    found: Record = {}
    for field in made.DESCRIPTOR.fields:
        value = getattr(made, field.name)
        if field.name.endswith("_json") or field.name in ("revision", "prompt_digest", "corrected_message"):
            continue
        if field.is_repeated:
            found[field.name] = [plain(message) for message in value]
        elif made.HasField(field.name) if field.has_presence else value not in ("", 0):
            found[field.name] = value
    if made.status:
        found["status"] = STATUSES[made.status].value
    if made.failure_category:
        found["failure_category"] = CATEGORIES[made.failure_category].value
    for key, text in (
        ("prompt_messages", made.prompt_json),
        ("model_response", made.model_response_json),
        ("tools", made.tools_json),
    ):
        found |= {key: json.loads(text)} if text else {}
    if made.HasField("corrected_message"):
        found["corrected_message"] = plain(made.corrected_message)
    return found | (json.loads(made.extra_json) if made.extra_json else {})


def without_unset(record: Record) -> Record:
    """A null or empty value of a typed key is an unset field."""
    return {key: value for key, value in record.items() if key not in MEANT or value not in (None, "")}


def normal(value: Any) -> Any:
    """For comparison: NaN equal to itself."""
    return json.loads(json.dumps(value), parse_constant=str)


@settings(max_examples=200)
@given(RECORD)
def test_nothing_of_a_record_is_lost_on_the_way_to_a_reviewer(record: Record) -> None:
    record = json.loads(json.dumps(record))
    made: Any = candidate_message(candidate(record), include_record=True)
    pb.Candidate.FromString(made.SerializeToString())
    assert repr(json.loads(made.record_json)) == repr(record)
    found = rebuilt(made)
    for key, value in without_unset(without_surrogates(record)).items():
        if key == "prompt_messages" and (messages := forms.prompt_of(record)) is not None:
            assert normal([plain(message) for message in made.prompt_messages]) == normal(without_surrogates(messages))
            if beside := forms.beside_prompt(record):
                assert normal(found[key]) == normal(without_surrogates(beside))
        elif key == "tools" and isinstance(value, str) and made.tools_json:
            assert normal(found[key]) == normal(without_surrogates(json.loads(value)))
        elif key == "corrected_message" and made.HasField(key):
            assert normal(found[key]) == normal({"role": ""} | value)
        else:
            assert normal(found.get(key)) == normal(value), key


@settings(max_examples=200)
@given(RECORD)
def test_what_is_exportable_is_encoded_in_strict_json_without_fail(record: Record) -> None:
    record = json.loads(json.dumps(record)) | {"status": "approved"}
    if forms.correction_of(record) is None:
        record["corrected_response"] = "four"
    if not is_exportable(record):
        record["prompt_messages"] = "2+2?"
    (example,) = pb.StreamExportResponse.FromString(encode_example(record, 9)).examples
    texts = [example.tools_json, example.rejected_json]
    for message in example.messages:
        texts += [message.content_json, message.extra_json]
    for text in filter(None, texts):
        json.loads(text, parse_constant=refuse)
    assert example.messages[-1].role == "assistant"
    quality = example.metadata.quality_score
    assert quality - quality == 0


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not strict JSON")
