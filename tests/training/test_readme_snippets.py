"""The snippets of the client's README that train, as they stand but for the model and the number of steps."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.readme import Snippet, serve, snippets
from tests.support import Server, record
from tests.training import tiny

SNIPPETS = [snippet for snippet in snippets("python") if snippet.needs_training]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = serve(tmp_path_factory.mktemp("readme"))
    yield server
    server.kill()


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: f"snippet-{snippet.number}")
def test_a_training_snippet_runs(snippet: Snippet, served: Server, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model", [json.dumps(record(f"e{n}")) for n in range(20)])
    text = snippet.adapted(served).replace("Qwen/Qwen3-0.6B", str(tmp_path / "model"))
    text = re.sub(r"max_steps=\d+", "max_steps=2, use_cpu=True, bf16=False, report_to='none'", text)
    text = re.sub(r"save_steps=\d+", "save_steps=1", text)
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
