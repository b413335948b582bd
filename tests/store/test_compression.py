"""Lines are stored compressed, and each comes back byte for byte or is told to be damaged."""

from __future__ import annotations

import json
import random
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from avocet_grpc.core.errors import StorageFailed, StorageFull
from avocet_grpc.core.model import File
from avocet_grpc.core.ports.mirror import Verdict
from avocet_grpc.core.record import parse
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql import bodies
from avocet_grpc.store.sql.rows import DictionaryRow
from avocet_grpc.store.sqlite import compression, inspect
from avocet_grpc.store.sqlite.compression import CompressedLines, LineDamaged
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.session import SqliteSession, connect
from tests.ledger_suite import encode
from tests.support import eventually

FIRST_AT = 300


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path)


@pytest.fixture
def ledger(directory: DataDirectory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteLedger]:
    monkeypatch.setattr(compression, "FIRST_AT", FIRST_AT)
    ledger = SqliteLedger(directory, encode)
    yield ledger
    ledger.close()


def line(number: int, seed: int = 0) -> Any:
    """A record of some 600 bytes, half of which all have."""
    chance = random.Random(number + 1_000_003 * seed)
    words = " ".join(f"{chance.randrange(1 << 16):x}" for _ in range(60))
    same = "the same question is asked of every model, and all of them answer it at some length " * 3
    return parse(json.dumps({"id": f"c{number}", "status": "needs_review", "prompt": same, "answer": words}).encode())


def put(ledger: SqliteLedger, numbers: range, seed: int = 0) -> None:
    ledger.write(lambda tx: [tx.put(File.CANDIDATES, line(n, seed)) for n in numbers]).result()


def dictionaries(directory: DataDirectory) -> list[tuple[int, int]]:
    db = sqlite3.connect(directory.ledger)
    found = db.execute("SELECT number, length(content) FROM dictionaries ORDER BY number").fetchall()
    db.close()
    return found


def learned(ledger: SqliteLedger, directory: DataDirectory, count: int) -> list[tuple[int, int]]:
    """The dictionaries, once there are so many and the newest is used."""
    eventually(lambda: len(dictionaries(directory)) == count)
    learning = ledger._learning
    assert learning is not None
    assert learning._thread is not None
    learning._thread.join()
    return dictionaries(directory)


def stored_size(directory: DataDirectory, key: int) -> int:
    db = sqlite3.connect(directory.ledger)
    [size] = db.execute("SELECT length(raw) FROM bodies WHERE key = ?", (key,)).fetchone()
    db.close()
    return int(size)


def raw_of(ledger: SqliteLedger, number: int) -> bytes:
    found = ledger.read(lambda r: r.candidate(f"c{number}"))
    assert found is not None
    return found.raw


def test_a_ledger_that_grows_tenfold_trains_a_dictionary_and_reads_lines_of_every_one(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    put(ledger, range(FIRST_AT - 1))
    assert dictionaries(directory) == []
    put(ledger, range(FIRST_AT - 1, FIRST_AT))
    learned(ledger, directory, 1)
    put(ledger, range(FIRST_AT, 10 * FIRST_AT))
    learned(ledger, directory, 2)
    put(ledger, range(10 * FIRST_AT, 10 * FIRST_AT + 1))
    assert all(size > 1_000 for _, size in dictionaries(directory))
    sizes = [stored_size(directory, key) for key in (1, FIRST_AT + 100, 10 * FIRST_AT + 1)]
    assert sizes[0] > 1.15 * sizes[1]
    for opened in (ledger, SqliteLedger(directory, encode)):
        for number in (0, FIRST_AT + 99, 10 * FIRST_AT):
            assert raw_of(opened, number) == line(number).raw
    opened.close()
    assert inspect.problems(directory.ledger) == []


def test_lines_with_nothing_in_common_are_kept_without_a_dictionary(
    ledger: SqliteLedger, directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "LEAST_SAMPLES", FIRST_AT + 1)
    put(ledger, range(FIRST_AT))
    assert learned(ledger, directory, 1) == [(1, 0)]
    put(ledger, range(FIRST_AT, FIRST_AT + 5))
    assert raw_of(ledger, FIRST_AT) == line(FIRST_AT).raw


def test_a_file_that_is_taken_in_at_the_first_start_is_compressed_by_a_dictionary(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    mirror = ledger.mirror()
    lines = [line(number) for number in range(2_100)]
    assert len(list(mirror.adopt(mirror.take_over(), File.CANDIDATES, lines))) == 2_100
    assert [number for number, _ in dictionaries(directory)] == [1]
    put(ledger, range(2_100, 2_101))
    assert 1.15 * stored_size(directory, 2_101) < stored_size(directory, 1)
    assert [raw_of(ledger, n) for n in (0, 1_500, 2_100)] == [line(n).raw for n in (0, 1_500, 2_100)]


@pytest.mark.parametrize("most_bytes", [0, 1 << 30])
def test_each_line_of_a_large_load_is_stored_whether_it_waits_for_others_or_not(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setattr(bodies, "MOST_BYTES", most_bytes)
    mirror = ledger.mirror()
    # The repeated ids stand inside a batch, and in a later one.
    numbers = [*range(1_500), 3, 1_400, *range(1_500, 2_500)]
    verdicts = [outcome.verdict for outcome in mirror.adopt(mirror.take_over(), File.CANDIDATES, map(line, numbers))]
    assert [n for n, verdict in zip(numbers, verdicts, strict=True) if verdict is Verdict.DUPLICATE] == [3, 1_400]
    assert [raw_of(ledger, n) for n in range(2_500)] == [line(n).raw for n in range(2_500)]


def test_a_dictionary_that_was_rolled_back_compresses_nothing(ledger: SqliteLedger, directory: DataDirectory) -> None:
    put(ledger, range(200))
    with ledger.session() as session:
        row = compression.trained(session, 1, 200)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL

    def work(tx: Any) -> None:
        tx.add_dictionary(row)
        tx.put(File.CANDIDATES, line(0, seed=1))
        tx.written()
        raise full

    with pytest.raises(StorageFull):
        ledger.write(work).result()
    put(ledger, range(200, 210))
    assert dictionaries(directory) == []
    assert raw_of(ledger, 205) == line(205).raw
    again = SqliteLedger(directory, encode)
    assert raw_of(again, 205) == line(205).raw
    again.close()


def test_the_first_of_two_dictionaries_of_one_number_is_kept(ledger: SqliteLedger, directory: DataDirectory) -> None:
    for content in (b"", b"another"):
        ledger.write(lambda tx, c=content: tx.add_dictionary(DictionaryRow(1, c))).result()
    assert dictionaries(directory) == [(1, 0)]


def test_a_lost_dictionary_is_told_and_no_line_of_it_is_believed(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    put(ledger, range(FIRST_AT))
    learned(ledger, directory, 1)
    put(ledger, range(FIRST_AT, FIRST_AT + 5))
    ledger.close()
    with sqlite3.connect(directory.ledger) as db:
        db.execute("DELETE FROM dictionaries")
    db.close()
    directory.ledger.with_name("ledger.db-seal").unlink()
    told = inspect.problems(directory.ledger)
    assert [text for text in told if "content of record" in text and f"({f'c{FIRST_AT}'})" in text]
    found = inspect.contents(directory.ledger)
    assert (len(found.pending[File.CANDIDATES]), found.unreadable) == (FIRST_AT, 5)
    again = SqliteLedger(directory, encode)
    assert raw_of(again, 1) == line(1).raw
    with pytest.raises(StorageFailed):
        raw_of(again, FIRST_AT + 1)
    again.close()


@pytest.fixture
def lines() -> Iterator[CompressedLines]:
    db = connect(None)
    db.execute("CREATE TABLE dictionaries (number INTEGER PRIMARY KEY, content BLOB)")
    content = zstandard.train_dictionary(4_096, [line(n).raw for n in range(500)], dict_id=1).as_bytes()
    db.execute("INSERT INTO dictionaries VALUES (1, ?)", (content,))
    yield CompressedLines(SqliteSession(db))
    db.close()


def test_a_stored_line_with_any_bit_turned_is_the_same_line_or_damaged(lines: CompressedLines) -> None:
    raw = line(7).raw
    stored = lines.packed(raw)
    assert len(stored) < len(raw)
    damaged = 0
    for at in range(len(stored)):
        for bit in range(8):
            changed = bytearray(stored)
            changed[at] ^= 1 << bit
            try:
                assert lines.unpacked(len(raw), bytes(changed)) == raw
            except LineDamaged:
                damaged += 1
    assert damaged > 7.9 * len(stored)


@pytest.mark.parametrize("cut", [0, 1, 5, -1])
def test_a_stored_line_that_is_cut_is_damaged(lines: CompressedLines, cut: int) -> None:
    raw = line(7).raw
    with pytest.raises(LineDamaged):
        lines.unpacked(len(raw), lines.packed(raw)[:cut])


def test_what_cannot_be_compressed_is_stored_as_it_is(lines: CompressedLines) -> None:
    for raw in (b"{}", b'{"id":"x"}', random.Random(1).randbytes(5_000)):
        stored = lines.packed(raw)
        assert len(stored) <= len(raw)
        assert lines.unpacked(len(raw), stored) == raw


def test_lines_that_are_packed_together_are_stored_as_each_alone(
    lines: CompressedLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = line(7).raw + b" "
    monkeypatch.setattr(compression, "MAX_LINE_BYTES", len(longest) - 1)
    several = [line(1).raw, longest, b"{}", random.Random(1).randbytes(500), line(7).raw]
    assert lines.packer(several)() == [lines.packed(one) for one in several]
    assert lines.packer([longest])() == [longest]
    assert lines.packer([])() == []


def test_a_line_beyond_the_longest_is_stored_as_it_is_and_read_again(
    lines: CompressedLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = line(7).raw
    monkeypatch.setattr(compression, "MAX_LINE_BYTES", len(raw) - 1)
    assert lines.unpacked(len(raw), lines.packed(raw)) == raw


@pytest.mark.parametrize("size", [600, 1 << 30])
def test_a_stored_line_that_claims_to_be_huge_takes_no_memory(lines: CompressedLines, size: int) -> None:
    compressor = zstandard.ZstdCompressor().compressobj(size=1 << 30)
    stored = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1 << 10)) + compressor.flush()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LineDamaged):
        lines.unpacked(size, stored)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
