"""An approved record for trainers, in strict JSON."""

from __future__ import annotations

import math
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core import forms
from avocet_grpc.core.json_text import strict_json
from avocet_grpc.core.model import Record
from avocet_grpc.core.record import replace_surrogates
from avocet_grpc.edge.convert.fields import FITTERS, fit
from avocet_grpc.edge.convert.messages import chat_message

METADATA = ("source", "task_type", "model_name", "benchmark_run_id", "failure_category", "label", "quality_score")


def encode_example(record: Record, approved_revision: int) -> bytes:
    """Return a StreamExportResponse with the one TrainingExample of an exportable record.

    The examples of a response are these bytes joined.
    """
    messages: Any = [chat_message(message, strict_json) for message in forms.prompt_of(record) or []]
    metadata: Any = _metadata(record, approved_revision)
    tools = forms.tools_of(record)
    response = pb.StreamExportResponse()
    # Made in its place, so that its bytes come with the field's tag and length.
    response.examples.add(
        id=record["id"],
        messages=[*messages, _correction(record)],
        rejected=replace_surrogates(forms.response_of(record)),
        metadata=metadata,
        tools_json=strict_json(tools) if tools is not None else "",
        rejected_json=_rejected_json(record.get("model_response")),
    )
    return response.SerializeToString()


def _correction(record: Record) -> Any:
    message = forms.corrected_message_of(record)
    if message is None:
        message = {"content": forms.correction_of(record) or ""}
    return chat_message(message | {"role": "assistant"}, strict_json)


def _rejected_json(response: Any) -> str:
    if response is None or isinstance(response, str) or _is_not_finite(response):
        return ""
    return strict_json(response)


def _metadata(record: Record, approved_revision: int) -> dict[str, Any]:
    typed, _ = fit({key: record[key] for key in METADATA if key in record}, FITTERS)
    return typed | {"approved_revision": approved_revision}


def _is_not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
