"""Reads of one process do not take the interpreter's lock from each other more often than they need."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.model import CandidateFilter, File, Order
from avocet_grpc.core.record import parse
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sql.bodies import bodies_until_full
from avocet_grpc.store.sqlite.compression import CompressedLines, KeptLines
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.gate import Gate
from tests.ledger_suite import encode
from tests.support import record

PAGE = 20


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)

    def add(tx: Any) -> None:
        for number in range(3 * PAGE):
            tx.add(File.CANDIDATES, parse(json.dumps(record(f"c{number}")).encode()))

    ledger.write(add).result()
    yield ledger
    ledger.close()


def page(reader: Any) -> list[Any]:
    items: list[Any] = reader.queue(CandidateFilter(), Order.FILE, None, 0, PAGE)
    return items


def test_a_page_of_the_queue_takes_one_row_for_its_keys_its_sizes_and_its_lines(ledger: SqliteLedger) -> None:
    rows = list[tuple[Any, ...]]()

    def counted(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
        rows.append(row)
        return row

    def work(reader: Any) -> list[str]:
        page(reader)
        rows.clear()
        reader._session.connection.row_factory = counted
        try:
            items = page(reader)
        finally:
            reader._session.connection.row_factory = None
        return [parse(item.candidate.raw).columns.id for item in items]

    assert ledger.read(work) == [f"c{number}" for number in range(PAGE)]
    assert len(rows) == 3


def test_lines_come_in_the_order_of_the_keys_that_were_asked_for(ledger: SqliteLedger) -> None:
    def work(reader: Any) -> tuple[list[int], list[int]]:
        keys = [item.candidate.key for item in page(reader)][::-1]
        return keys, [*bodies_until_full(reader._session, keys)]

    asked, given = ledger.read(work)
    assert given == asked
    assert ledger.read(lambda reader: bodies_until_full(reader._session, [])) == {}


def test_a_page_that_is_read_again_is_not_unpacked_again(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger.read(page)
    monkeypatch.setattr(CompressedLines, "_decompressor", lambda self, number: pytest.fail("unpacked again"))
    assert ledger.read(page) == before


def test_lines_that_are_kept_have_a_bound_and_the_oldest_go() -> None:
    kept = KeptLines(1_000)
    for number in range(100):
        kept.keep(b"%d" % number, b"x" * 40)
    assert kept.get(b"0") is None
    assert kept.get(b"99") == b"x" * 40
    assert 10 < sum(kept.get(b"%d" % number) is not None for number in range(100)) <= 1_000 // 40


def test_a_long_line_is_not_kept() -> None:
    kept = KeptLines(1_000)
    kept.keep(b"short", b"x" * 20)
    kept.keep(b"long", b"x" * 900)
    assert kept.get(b"long") is None
    assert kept.get(b"short") is not None


def test_one_read_at_a_time_is_inside() -> None:
    gate, inside, most = Gate(long_s=30), 0, 0

    def read() -> None:
        nonlocal inside, most
        for _ in range(20):
            with gate.passed():
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_long_read_does_not_keep_others_out() -> None:
    gate, ended, passed = Gate(), threading.Event(), threading.Event()

    def long() -> None:
        with gate.passed():
            ended.wait(60)

    def short() -> None:
        with gate.passed():
            passed.set()

    threads = [threading.Thread(target=long), threading.Thread(target=short), threading.Thread(target=short)]
    for thread in threads:
        thread.start()
    is_through = passed.wait(20)
    ended.set()
    for thread in threads:
        thread.join()
    assert is_through
    with gate.passed():
        assert gate._free.locked()


def test_a_read_that_fails_lets_the_next_one_in(ledger: SqliteLedger) -> None:
    with pytest.raises(ZeroDivisionError):
        ledger.read(lambda reader: 1 // 0)
    assert not ledger._gate._free.locked()
