"""Trains a tiny model a few steps, fed by the service: `... -m tests.training.train KIND ADDRESS REVISION MODEL OUT`.

Writes a digest of each step's batch to OUT/batches.jsonl; with `--die-at N` it kills itself there. Where OUT has a
checkpoint, it resumes from that.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from avocet_client import CorrectionsClient, to_preference, to_sft
from avocet_client.datasets import iterable_dataset

STEPS = 8
SAVE_STEPS = 2


def recording(trainer_class: Any, out: Path, die_at: int) -> Any:
    """The trainer, with every batch noted before it is learned."""

    class Recording(trainer_class):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            step = self.state.global_step + 1
            if step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            digest = hashlib.sha256(b"".join(inputs[key].numpy().tobytes() for key in sorted(inputs)))
            with (out / "batches.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "batch": digest.hexdigest()}) + "\n")
            return super().training_step(model, inputs, *args, **kwargs)

    return Recording


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("kind", "address", "revision", "model", "out"):
        parser.add_argument(name)
    parser.add_argument("--die-at", type=int, default=0)
    asked = parser.parse_args()
    out = Path(asked.out)
    out.mkdir(exist_ok=True)
    kind, config, render = {
        "sft": (SFTTrainer, SFTConfig, to_sft),
        "dpo": (DPOTrainer, DPOConfig, to_preference),
    }[asked.kind]
    with CorrectionsClient(asked.address) as client:
        trainer = recording(kind, out, asked.die_at)(
            model=asked.model,
            args=config(
                output_dir=str(out),
                max_steps=STEPS,
                save_steps=SAVE_STEPS,
                per_device_train_batch_size=3,
                learning_rate=1e-3,
                report_to="none",
                use_cpu=True,
                bf16=False,
                disable_tqdm=True,
                gradient_checkpointing=False,
            ),
            train_dataset=iterable_dataset(client, render=render, at_revision=int(asked.revision)),
        )
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)))
        trainer.save_model(str(out / "final"))


if __name__ == "__main__":
    main()
