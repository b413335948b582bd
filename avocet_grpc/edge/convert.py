"""Records as wire messages.

A typed field holds what fits its type; every other key, and every value that does not fit, stays in `extra_json` in the
dialect of Python's `json`, so that nothing of a record is lost. A null is an unset field.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.model import Candidate, Imported, Record, ServerVersion, Stats
from avocet_grpc.core.ports.runs import Run
from avocet_grpc.core.record import record_of, replace_surrogates
from avocet_grpc.edge.enums import CATEGORY_NUMBERS, STATUS_NUMBERS

INT32 = range(-(2**31), 2**31)
_MISFIT = object()


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        return _MISFIT
    return value if value.isascii() else replace_surrogates(value)


def _double(value: Any) -> Any:
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        return _MISFIT
    try:
        number = float(value)
    except OverflowError:
        return _MISFIT
    return number if number == value else _MISFIT


def _int32(value: Any) -> Any:
    return value if isinstance(value, int) and not isinstance(value, bool) and value in INT32 else _MISFIT


def _word(numbers: dict[str, int]) -> Callable[[Any], Any]:
    return lambda value: numbers.get(value, _MISFIT) if isinstance(value, str) else _MISFIT


def _messages(value: Any) -> Any:
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        return _MISFIT
    return [chat_message(message) for message in value]


_TEXT_KEYS = (
    "id", "source", "benchmark_run_id", "timestamp", "model_response", "corrected_response", "failure_reason",
    "task_id", "task_type", "task_name", "model_id", "model_name", "node_id", "label",
)  # fmt: skip
_FITTERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TEXT_KEYS, _text),
    "status": _word(STATUS_NUMBERS),
    "failure_category": _word(CATEGORY_NUMBERS),
    "prompt_messages": _messages,
    "quality_score": _double,
    "tokens_per_sec": _double,
    "gpu_id": _int32,
}
_MESSAGE_FITTERS: dict[str, Callable[[Any], Any]] = {"role": _text, "content": _text}


def _fit(record: Record, fitters: dict[str, Callable[[Any], Any]]) -> tuple[dict[str, Any], str]:
    """The typed fields of a record, and the JSON text of the rest (empty when there is none)."""
    typed: dict[str, Any] = {}
    extra: Record = {}
    for key, value in record.items():
        fitter = fitters.get(key)
        if fitter is _text and type(value) is str and value.isascii():
            typed[key] = value
            continue
        fitted = _MISFIT if fitter is None else None if value is None else fitter(value)
        if fitted is _MISFIT:
            extra[key] = value
        elif fitted is not None:
            typed[key] = fitted
    return typed, json.dumps(extra) if extra else ""


def chat_message(message: Record) -> pb.ChatMessage:
    """One message of a conversation; content that is no string goes to `content_json`."""
    content = message.get("content", "")
    if isinstance(content, str):
        typed, extra = _fit(message, _MESSAGE_FITTERS)
        return pb.ChatMessage(**typed, extra_json=extra)
    typed, extra = _fit({key: value for key, value in message.items() if key != "content"}, _MESSAGE_FITTERS)
    return pb.ChatMessage(**typed, content_json=json.dumps(content), extra_json=extra)


def candidate_message(candidate: Candidate) -> pb.Candidate:
    """A candidate of the store as the wire has it."""
    typed, extra = _fit(record_of(candidate), _FITTERS)
    return pb.Candidate(**typed, extra_json=extra, revision=candidate.revision)


def encode_example(record: Record, approved_revision: int) -> bytes:
    """The TrainingExample of an exportable record, with its field tag and length as in StreamExportResponse.

    So the examples of a response are these bytes joined.
    """
    prompt = record.get("prompt_messages")
    messages = [_prompt_message(message) for message in (prompt if isinstance(prompt, list) else [])]
    messages.append(pb.ChatMessage(role="assistant", content=_or_empty(record, "corrected_response")))
    example = pb.TrainingExample(
        id=_or_empty(record, "id"),
        messages=messages,
        rejected=_or_empty(record, "model_response"),
        metadata=_metadata(record, approved_revision),
    )
    return pb.StreamExportResponse(examples=[example]).SerializeToString()


def _prompt_message(message: Any) -> pb.ChatMessage:
    return chat_message(message) if isinstance(message, dict) else pb.ChatMessage(content_json=json.dumps(message))


def _metadata(record: Record, approved_revision: int) -> pb.TrainingMetadata:
    keys = ("source", "task_type", "model_name", "benchmark_run_id", "failure_category", "label", "quality_score")
    typed, _ = _fit({key: record[key] for key in keys if key in record}, _FITTERS)
    return pb.TrainingMetadata(**typed, approved_revision=approved_revision)


def _or_empty(record: Record, key: str) -> str:
    value = record.get(key)
    return replace_surrogates(value) if isinstance(value, str) else ""


def run_message(run: Run, already_imported: bool) -> pb.Run:
    """A benchmark run; its directory's name may hold bytes that are no text, which become U+FFFD."""
    return pb.Run(
        run_id=replace_surrogates(run.run_id),
        timestamp=replace_surrogates(run.timestamp),
        candidate_count=run.candidate_count,
        malformed_count=run.malformed_count,
        already_imported=already_imported,
    )


def imported_message(imported: Imported) -> pb.ImportResponse:
    """What an import brought."""
    return pb.ImportResponse(imported=imported.imported, skipped=imported.skipped, malformed=imported.malformed)


def stats_message(stats: Stats) -> pb.StatsResponse:
    """The counts of the store."""
    return pb.StatsResponse(
        total=stats.total,
        by_status=_counts(stats.by_status),
        by_model=_counts(stats.by_model),
        by_task_type=_counts(stats.by_task_type),
        by_source=_counts(stats.by_source),
        by_failure_category=_counts(stats.by_failure_category),
        export_ready=stats.export_ready,
        malformed=stats.malformed,
        duplicate_ids=stats.duplicate_ids,
        revision=stats.revision,
    )


def version_message(version: ServerVersion) -> pb.GetVersionResponse:
    """What the server says of itself."""
    response = pb.GetVersionResponse(
        version=version.version, schema_version=version.schema_version, engine=version.engine
    )
    response.started_at.FromMicroseconds(int(version.started_at * 1_000_000))
    return response


def _counts(counts: Any) -> dict[str, int]:
    return {replace_surrogates(name): count for name, count in counts.items()}
