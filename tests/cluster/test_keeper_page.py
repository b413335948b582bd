"""The commands of docs/keeper.md are run in the order of the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operate.test_docs import free_port, session


@pytest.mark.timeout(300)
def test_the_session_of_the_keepers_page_runs_as_it_stands(database: str, tmp_path: Path) -> None:
    ports = {port: free_port() for port in ("50052", "50053")}
    said = session("keeper.md", tmp_path, {"AVOCET_STORE": database}, **ports)
    assert f":{tmp_path}/data keeps the files, seen " in said
    assert "nobody keeps the files now" in said
    assert f":{tmp_path}/moved keeps the files, seen " in said
    assert "wrote both files into new" in said
    assert (tmp_path / "new/sft_candidates.jsonl").exists()
