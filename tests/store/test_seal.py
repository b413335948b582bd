"""The seal of a ledger of several parts, each of which has a checksum of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from avocet_grpc.store.sqlite import seal

PART = 1024


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(seal, "CHUNK_BYTES", PART // 4)
    monkeypatch.setattr(seal, "PART_BYTES", PART)
    path = tmp_path / "ledger.db"
    path.write_bytes(bytes(n * 7 % 251 for n in range(5 * PART + 300)))
    seal.close_seal(path)
    return path


def test_a_ledger_as_it_was_left_has_a_sound_seal(ledger: Path) -> None:
    assert seal.has_sound_seal(ledger) is True


@pytest.mark.parametrize("at", [0, PART - 1, PART, 3 * PART + 17, 5 * PART, 5 * PART + 299])
def test_a_changed_byte_in_any_part_is_noticed(ledger: Path, at: int) -> None:
    content = bytearray(ledger.read_bytes())
    content[at] ^= 1
    ledger.write_bytes(content)
    assert seal.has_sound_seal(ledger) is False


def test_parts_that_changed_places_are_noticed(ledger: Path) -> None:
    content = ledger.read_bytes()
    ledger.write_bytes(content[PART : 2 * PART] + content[:PART] + content[2 * PART :])
    assert seal.has_sound_seal(ledger) is False


@pytest.mark.parametrize("size", [0, PART, 5 * PART, 5 * PART + 299])
def test_a_shorter_or_longer_ledger_is_noticed(ledger: Path, size: int) -> None:
    content = ledger.read_bytes()
    ledger.write_bytes(content[:size])
    assert seal.has_sound_seal(ledger) is False
    ledger.write_bytes(content + b"\0")
    assert seal.has_sound_seal(ledger) is False
