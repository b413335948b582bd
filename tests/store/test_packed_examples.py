"""Encoded examples are stored compressed, and each comes back byte for byte or is told to be damaged."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from avocet_grpc.core.errors import StorageFailed
from avocet_grpc.core.model import ExportSelection, File
from avocet_grpc.core.record import parse
from avocet_grpc.edge.convert.example import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.examples.ledger import ExportLedger
from avocet_grpc.store.sqlite.compression import LONGEST_EXAMPLE, CompressedLines, LineDamaged, example_size
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.session import SqliteSession, connect
from tests.ledger_suite import newest
from tests.support import record

TEXT = "a correction is kept as it was approved, and a training run reads it years later"


def text_of(number: int, words: int = 80) -> str:
    chance = random.Random(number)
    return " ".join(chance.choices(TEXT.split(), k=words))


def approved(number: int, words: int = 80) -> bytes:
    corrected = text_of(number, words)
    return json.dumps(record(f"c{number}", status="approved", corrected_response=corrected)).encode()


def encoded(number: int, words: int = 80, revision: int = 1) -> bytes:
    return encode_example(record(f"c{number}", status="approved", corrected_response=text_of(number, words)), revision)


@pytest.fixture
def lines() -> Iterator[CompressedLines]:
    db = connect(None)
    db.execute("CREATE TABLE dictionaries (number INTEGER PRIMARY KEY, content BLOB)")
    content = zstandard.train_dictionary(4_096, [approved(n) for n in range(500)], dict_id=1).as_bytes()
    db.execute("INSERT INTO dictionaries VALUES (1, ?)", (content,))
    yield CompressedLines(SqliteSession(db))
    db.close()


def exported(ledger: SqliteLedger, directory: DataDirectory) -> bytes:
    """All examples, as the copy of them sends them."""
    copy = ExportLedger(ledger, directory.examples)
    try:
        batch: Any = copy.read(lambda r: r.export_batch(ExportSelection(newest(ledger)), 0, 1_000, 1 << 30))
    finally:
        copy.stop()
    return bytes(batch.encoded)


def test_examples_are_stored_in_less_room_and_exported_byte_for_byte_beside_those_that_are_stored_as_they_are(
    tmp_path: Path,
) -> None:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode_example)
    for number in range(20):
        words = 20_000 if number == 7 else 80
        ledger.write(lambda tx, n=number, w=words: tx.put(File.APPROVED, parse(approved(n, w)))).result()
    with sqlite3.connect(directory.ledger) as db:
        stored = dict(db.execute("SELECT id, encoded FROM examples").fetchall())
        revisions = dict(db.execute("SELECT id, approved_revision FROM examples").fetchall())
        wanted = {id: encoded(int(id[1:]), 20_000 if id == "c7" else 80, revisions[id]) for id in stored}
        # A ledger from before examples were compressed has them as they are.
        db.execute("UPDATE examples SET encoded = ? WHERE id = 'c3'", (wanted["c3"],))
    db.close()
    assert stored["c7"] == wanted["c7"] and len(wanted["c7"]) > LONGEST_EXAMPLE
    assert all(len(stored[id]) < 0.8 * len(wanted[id]) for id in stored if id != "c7")
    assert exported(ledger, directory) == b"".join(wanted[f"c{number}"] for number in range(20))
    ledger.close()


def test_a_damaged_example_is_not_exported(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    ledger = SqliteLedger(directory, encode_example)
    ledger.write(lambda tx: [tx.put(File.APPROVED, parse(approved(n))) for n in range(3)]).result()
    with sqlite3.connect(directory.ledger) as db:
        [stored] = db.execute("SELECT encoded FROM examples WHERE id = 'c1'").fetchone()
        db.execute("UPDATE examples SET encoded = ? WHERE id = 'c1'", (stored[:-9] + b"damaged!!",))
    db.close()
    with pytest.raises(StorageFailed):
        exported(ledger, directory)
    ledger.close()


def test_a_stored_example_with_any_bit_turned_is_the_same_example_or_damaged(lines: CompressedLines) -> None:
    raw = encoded(7)
    stored = lines.packed_example(raw)
    assert len(stored) < len(raw) == example_size(stored)
    damaged = 0
    # Without the magic number it is an example that is stored as it is.
    for at in range(4, len(stored)):
        for bit in range(8):
            changed = bytearray(stored)
            changed[at] ^= 1 << bit
            try:
                assert lines.unpacked_example(bytes(changed)) == raw
            except LineDamaged:
                damaged += 1
    assert damaged > 7.9 * (len(stored) - 4)


@pytest.mark.parametrize("cut", [4, 5, 9, -1])
def test_a_stored_example_that_is_cut_is_damaged(lines: CompressedLines, cut: int) -> None:
    with pytest.raises(LineDamaged):
        lines.unpacked_example(lines.packed_example(encoded(7))[:cut])


def test_a_stored_example_that_claims_to_be_longer_than_any_is_damaged(lines: CompressedLines) -> None:
    stored = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(LONGEST_EXAMPLE + 1))
    with pytest.raises(LineDamaged):
        lines.unpacked_example(stored)


def test_an_example_that_cannot_be_compressed_is_stored_as_it_is(lines: CompressedLines) -> None:
    for raw in (encoded(1)[:9], b"\n" + random.Random(1).randbytes(5_000)):
        assert lines.packed_example(raw) == raw == lines.unpacked_example(raw)
        assert example_size(raw) == len(raw)
