"""What the tests of the files of examples share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.store.examples import ledger as export_ledger
from avocet_grpc.store.examples import store as example_store
from tests.store.exporting import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A ledger with some history, and a copy of its examples in many small blocks."""
    monkeypatch.setattr(export_ledger, "GATHER_S", 0.0)
    monkeypatch.setattr(example_store, "BLOCK_BYTES", 300)
    store = Store(tmp_path, random.Random(3))
    for _ in range(40):
        store.change()
    yield store
    store.copy.close()
