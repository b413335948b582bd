"""The commands of docs/scale.md are run in the order of the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.operate.test_docs import free_port, session
from tests.postgres import Postgres
from tests.support import SECRET


@pytest.mark.timeout(300)
def test_a_newcomer_moves_a_service_to_postgresql_with_the_commands_of_the_page(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database("template0")
    environment = {"DATABASE": url, "AVOCET_INGESTION_SECRET": SECRET, "AVOCET_TOKEN": SECRET}
    try:
        said = session("scale.md", tmp_path, environment, **{"50052": free_port()})
    finally:
        postgres.drop(url)
    assert "steps run: 1" in said and "rows" in said
    before, after = (json.loads((tmp_path / name).read_text()) for name in ("before.json", "after.json"))
    assert before == after and before["export_ready"] == 1
