"""Candidates of 2 KB as benchmark runs write them, a fifth of them approved."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORD_BYTES = 2_048
APPROVED_EACH = 5
"""Every fifth candidate is approved; the others are in review."""
WORDS = (
    "light",
    "scatters",
    "because",
    "the",
    "shorter",
    "wave",
    "of",
    "blue",
    "meets",
    "air",
    "and",
    "red",
    "does",
    "not",
)


def write_files(data_dir: Path, count: int) -> None:
    """Both shared files, with `count` candidates."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "sft_candidates.jsonl").open("w") as all, (data_dir / "sft_approved.jsonl").open("w") as approved:
        for number, line in enumerate(lines(count)):
            all.write(line)
            if number % APPROVED_EACH == 0:
                approved.write(line)


def write_approved(data_dir: Path, count: int) -> None:
    """The approved file alone, with `count` records: an approved line without a candidate is exported all the same."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "sft_approved.jsonl").open("w") as approved:
        approved.writelines(itertools.islice(lines(count * APPROVED_EACH), 0, None, APPROVED_EACH))


def lines(count: int) -> Iterator[str]:
    """Each candidate as its line, of RECORD_BYTES with the newline."""
    choice = random.Random(count)
    texts = [" ".join(choice.choices(WORDS, k=400)) for _ in range(64)]
    for number in range(count):
        content = candidate(number, texts[number % 64], texts[number * 7 % 64])
        room = RECORD_BYTES - len(json.dumps(content)) - 1
        content["model_response"] = texts[number * 5 % 64][:room].ljust(room, ".")
        yield json.dumps(content) + "\n"


def candidate(number: int, question: str, answer: str) -> dict[str, Any]:
    """A record whose `model_response` is still empty."""
    approved = number % APPROVED_EACH == 0
    decided = {"reviewed_at": "2026-01-02T03:04:05+00:00", "reviewed_by": "ann"} if approved else {}
    return {
        "id": f"candidate-{number:08d}",
        "source": "benchmark",
        "benchmark_run_id": f"2026-01-{number * 28 // 10_000_000 + 1:02d}-120000",
        "timestamp": f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        "status": "approved" if approved else "needs_review",
        "prompt_messages": [
            {"role": "system", "content": "You answer in one sentence."},
            {"role": "user", "content": question[:500]},
        ],
        "model_response": "",
        "corrected_response": answer[:400] if approved else None,
        "quality_score": number * 7919 % 1000 / 1000,
        "failure_reason": "keywords missing: scattering",
        "task_id": f"task-{number % 500}",
        "task_type": ("summary", "code", "qa")[number % 3],
        "task_name": "Blue sky",
        "model_id": f"heron-{number % 7}",
        "model_name": f"Heron {number % 7}",
        "node_id": "node-1",
        "gpu_id": number % 8,
        "tokens_per_sec": 41.5,
        **decided,
    }
