"""Another program's JSON library writes 1.0 for 1, or 1 for 1.0: it has changed nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.forms import prompt_digest
from avocet_grpc.core.model import Action, CandidateFilter, Decision, File
from tests.mirror.in_process import InProcess, SteppedClock, opened
from tests.support import record, records, write_records

PARTS = [{"type": "image", "detail": 2, "scale": 1.0}]
NUMBERS = {"gpu_id": 1, "quality_score": 1.0, "elapsed": -0.0, "big": 2**53, "deep": [{"n": 3}], "odd": float("nan")}
Numbers = Callable[[Any], Any]


def as_float(value: Any) -> Any:
    return float(value) if type(value) is int else value


def as_integer(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def everywhere(value: Any, change: Numbers) -> Any:
    if isinstance(value, dict):
        return {key: everywhere(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [everywhere(one, change) for one in value]
    return change(value)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    draft = path.with_name("draft")
    write_records(draft, [change(one) for one in records(path)])
    os.replace(draft, path)


def decide(service: InProcess, id: str) -> None:
    decision = Decision(id, Action.CORRECT, f"better {id}")
    service.do(lambda tx: review.submit(tx, decision))


def write_candidates(data: Path) -> None:
    messages = [{"role": "user", "content": PARTS}]
    write_records(
        data / "sft_candidates.jsonl", [record(f"c{n}", prompt_messages=messages, **NUMBERS) for n in range(4)]
    )


@pytest.mark.parametrize("seconds", [1, 3_600], ids=["fresh", "old"])
@pytest.mark.parametrize("numbers", [as_float, as_integer])
def test_a_rewrite_with_equal_numbers_is_no_edit(tmp_path: Path, numbers: Numbers, seconds: int) -> None:
    write_candidates(tmp_path)
    with opened(tmp_path) as service:
        decide(service, "c1")
        service.come_to_rest()
        service.wait(seconds)
        revision = service.ask(lambda reader: reader.revision())
        written = {}
        for name in ("sft_candidates.jsonl", "sft_approved.jsonl"):
            rewrite(tmp_path / name, lambda one: everywhere(one, numbers))
            written[name] = sorted((tmp_path / name).read_bytes().splitlines())
        for _ in range(3):
            service.wait(60)
            service.come_to_rest()
        assert service.ask(lambda reader: reader.revision()) == revision
        assert service.actions("c1") == ["correct"]
        assert not service.actions("c2")
        for file in File:
            assert repr(service.served("c1", file)["gpu_id"]) == repr(numbers(1))  # type: ignore[index]
        prompt = prompt_digest(service.served("c2") or {}) or b""
        assert service.ask(lambda reader: reader.same_prompt({prompt}, 100)) == {prompt: 4}
        for name, lines in written.items():
            assert sorted((tmp_path / name).read_bytes().splitlines()) == lines
        assert service.stop()


@pytest.mark.parametrize("numbers", [as_float, as_integer])
def test_a_reading_of_before_a_decision_does_not_undo_it_if_it_comes_back_with_equal_numbers(
    tmp_path: Path, numbers: Numbers
) -> None:
    write_candidates(tmp_path)
    path = tmp_path / "sft_candidates.jsonl"
    clock = SteppedClock()
    with opened(tmp_path, clock) as service:
        read = records(path)
        decide(service, "c1")
        service.come_to_rest()
        service.wait(3_600)
        write_records(path.with_name("draft"), [everywhere(one, numbers) for one in read])
        os.replace(path.with_name("draft"), path)
        for _ in range(3):
            service.wait(60)
            service.come_to_rest()
        assert service.served("c1")["status"] == "approved"  # type: ignore[index]
        assert service.actions("c1") == ["correct"]
        assert {one["id"]: one["status"] for one in records(path)}["c1"] == "approved"


def test_an_edit_right_after_a_decision_counts_in_a_record_with_nan(tmp_path: Path) -> None:
    write_candidates(tmp_path)
    path = tmp_path / "sft_candidates.jsonl"
    with opened(tmp_path) as service:
        decide(service, "c1")
        service.come_to_rest()
        service.wait(5)
        rewrite(path, lambda one: one | {"note": "seen"})
        for _ in range(3):
            service.wait(10)
            service.come_to_rest()
        assert service.served("c1")["note"] == "seen"  # type: ignore[index]
        assert service.actions("c1") == ["edit", "correct"]
        entries = service.ask(lambda reader: reader.history("c1"))
        assert json.loads(entries[0].change)["set"] == ["note"]
        assert "odd" not in json.loads(entries[1].change)["set"]


def test_true_in_place_of_1_is_an_edit_that_the_history_tells(tmp_path: Path) -> None:
    write_candidates(tmp_path)
    with opened(tmp_path) as service:
        service.wait(3_600)
        rewrite(tmp_path / "sft_candidates.jsonl", lambda one: one | {"gpu_id": True} if one["id"] == "c2" else one)
        for _ in range(3):
            service.wait(60)
            service.come_to_rest()
        assert service.served("c2")["gpu_id"] is True  # type: ignore[index]
        [entry] = service.ask(lambda reader: reader.history("c2"))
        assert json.loads(entry.change)["set"] == ["gpu_id"]
        assert service.ask(lambda reader: reader.stats(CandidateFilter())).total == 4
