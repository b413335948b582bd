"""The commands of docs/scale.md are run in the order of the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.operate.test_docs import free_port, session
from tests.postgres import Postgres
from tests.support import ROOT, SECRET

READ = f"{sys.executable} -m tests.cluster.reader . "
INGEST = "avocet ingest --source wiki --task-type code --prompt 'What is 2+2?' --correction"
BEFORE, AFTER = "avocet stats --json > before.json", "cmp before.json after.json"


@pytest.mark.timeout(300)
def test_a_newcomer_moves_a_service_to_postgresql_and_a_training_run_goes_on_in_the_middle_of_its_export(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database("template0")
    environment = {"DATABASE": url, "AVOCET_INGESTION_SECRET": SECRET, "AVOCET_TOKEN": SECRET, "PYTHONPATH": str(ROOT)}
    export = "avocet export --out"
    begun = f"for n in 1 2 3 4 5 6; do {INGEST} $n; done\n{BEFORE}\n{export} whole.jsonl\n{READ} 3"
    ended = f"{AFTER}\n{export} again.jsonl\ncmp whole.jsonl again.jsonl\n{INGEST} late\n{READ}"
    try:
        said = session(
            "scale.md", tmp_path, environment, **{"50052": free_port(), f"{BEFORE}\n": f"{begun}\n", AFTER: ended}
        )
    finally:
        postgres.drop(url)
    assert "steps run: 1" in said and "rows" in said
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("before.json", "after.json"))
    assert before == after and before["export_ready"] == 7
    whole = [json.loads(line)["id"] for line in (tmp_path / "whole.jsonl").read_text().splitlines()]
    assert (tmp_path / "ids.txt").read_text().split() == whole and len(whole) == 7
