"""Which values of a record fit a typed field of the wire. A null is an unset field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from avocet_grpc.core.model import Record
from avocet_grpc.core.record import finite, replace_surrogates
from avocet_grpc.edge.enums import CATEGORY_NUMBERS, STATUS_NUMBERS

INT32 = range(-(2**31), 2**31)
MISFIT = object()
"""What a fitter returns for a value that its type cannot hold."""

Fitter = Callable[[Any], Any]


def text(value: Any) -> Any:
    """Return the string, with U+FFFD in place of lone surrogates."""
    if not isinstance(value, str):
        return MISFIT
    return value if value.isascii() else replace_surrogates(value)


def double(value: Any) -> Any:
    """Return the nearest double, if the value is a finite number."""
    number = finite(value)
    return MISFIT if number is None else number


def int32(value: Any) -> Any:
    """Return the integer, if 32 bits hold it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in INT32 else MISFIT


def _word(numbers: dict[str, int]) -> Fitter:
    return lambda value: numbers.get(value, MISFIT) if isinstance(value, str) else MISFIT


TEXT_KEYS = (
    "id", "source", "benchmark_run_id", "timestamp", "corrected_response", "failure_reason", "task_id", "task_type",
    "task_name", "model_id", "model_name", "node_id", "label", "reviewed_at", "reviewed_by",
)  # fmt: skip
FITTERS: dict[str, Fitter] = {
    **dict.fromkeys(TEXT_KEYS, text),
    "status": _word(STATUS_NUMBERS),
    "failure_category": _word(CATEGORY_NUMBERS),
    "quality_score": double,
    "tokens_per_sec": double,
    "gpu_id": int32,
}


def fit(record: Record, fitters: Mapping[str, Fitter]) -> tuple[dict[str, Any], Record]:
    """Return the typed fields of a record, and every key that none of them holds, or not exactly."""
    typed: dict[str, Any] = {}
    rest: Record = {}
    for key, value in record.items():
        fitter = fitters.get(key)
        if fitter is text and type(value) is str and value.isascii():
            typed[key] = value
            continue
        fitted = MISFIT if fitter is None else None if value is None else fitter(value)
        if fitted is MISFIT:
            rest[key] = value
        elif fitted is not None:
            typed[key] = fitted
            if fitter is double and fitted != value:
                rest[key] = value
    return typed, rest
