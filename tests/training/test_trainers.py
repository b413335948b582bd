"""TRL's trainers, fed by the stream, killed half-way, and resumed to the same batches and the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import ROOT, Server, record, write_records
from tests.training import tiny
from tests.training.train import SAVE_STEPS, STEPS

EXAMPLES = 60
DIE_AT = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("training"))
    approved = [record(f"e{n}", status="approved", corrected_response=f"better number {n}") for n in range(EXAMPLES)]
    write_records(server.approved, approved)
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    tiny.save(directory, [json.dumps(record(f"e{n}")) for n in range(EXAMPLES)])
    return directory


def train(kind: str, server: Server, revision: int, model: Path, out: Path, die_at: int = 0) -> int:
    command = [sys.executable, "-m", "tests.training.train", kind, server.address, str(revision), str(model), str(out)]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--die-at", str(die_at)],
        cwd=ROOT,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode not in (0, -9):
        raise AssertionError(done.stdout + done.stderr)
    return done.returncode


def batches(out: Path) -> list[Any]:
    return [tuple(json.loads(line).values()) for line in (out / "batches.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_killed_training_resumes_to_the_same_batches_and_weights(
    server: Server, model: Path, tmp_path: Path, kind: str
) -> None:
    revision = server.stats().revision
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train(kind, server, revision, model, whole) == 0
    undisturbed = batches(whole)
    assert [step for step, _ in undisturbed] == list(range(1, STEPS + 1))
    assert len({batch for _, batch in undisturbed}) == STEPS

    assert train(kind, server, revision, model, killed, die_at=DIE_AT) == -9
    before = batches(killed)
    assert before == undisturbed[: DIE_AT - 1]
    # What is approved between the crash and the restart is of a later revision.
    server.ingest(pb.IngestRequest(source="s", task_type="t", prompt="new", response="no", correction="yes"))
    assert train(kind, server, revision, model, killed) == 0
    kept = (DIE_AT - 1) // SAVE_STEPS * SAVE_STEPS
    assert batches(killed)[len(before) :] == undisturbed[kept:]
    weights, resumed = (load_file(out / "final" / "model.safetensors") for out in (whole, killed))
    assert all(weights[name].allclose(resumed[name]) for name in weights)
