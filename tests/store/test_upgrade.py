"""A ledger of version 3 becomes one of version 4: what callers and other programs had of it lives on.

`data/ledger_version_3.sql` is such a ledger, and `data/ledger_version_3.json` what its program said of it.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import export, ingest, queue
from avocet_grpc.core.model import CandidateFilter, Correction, ExportSelection, File, Order, Source
from avocet_grpc.core.ports.mirror import ABSENT, START, Found, How, Verdict
from avocet_grpc.core.record import parse
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import compression, inspect, upgrade
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite.integrity import LedgerUnusable
from tests.exports import batch as batch_of
from tests.exports import exports
from tests.ledger_suite import correct

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "ledger_version_3.json").read_text())
ALL = CandidateFilter()


def make_old(root: Path) -> DataDirectory:
    """A data directory with the ledger of version 3."""
    directory = DataDirectory(root)
    directory.private.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(directory.ledger)
    connection.executescript((DATA / "ledger_version_3.sql").read_text())
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return directory


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return make_old(tmp_path)


@pytest.fixture
def ledger(directory: DataDirectory) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(directory, encode_example)
    yield ledger
    ledger.close()


def exported(ledger: SqliteLedger, revision: int) -> list[list[Any]]:
    found, after, selection = list[list[Any]](), 0, ExportSelection(revision)
    while batch := batch_of(ledger, selection, after, 1, 1 << 30):
        found.append([batch.last_key, batch.ids.decode().strip(), batch.encoded.hex()])
        after = batch.last_key
    return found


@pytest.mark.parametrize("when", ["first", "middle", "last"])
def test_exports_at_the_revisions_of_before_are_byte_for_byte_what_they_were(ledger: SqliteLedger, when: str) -> None:
    revision = FACTS[when]
    assert exported(ledger, revision) == FACTS["exports"][str(revision)]


def test_a_resume_token_and_a_page_token_of_before_go_on(ledger: SqliteLedger) -> None:
    cursor = ledger.read(
        lambda r: export.open_export(
            exports(r), filter=ALL, shard_index=0, shard_count=1, split=None, at_revision=0, since_revision=0,
            resume_token=FACTS["token"],
        )
    )  # fmt: skip
    rows = FACTS["exports"][str(FACTS["first"])]
    assert (cursor.selection.revision, cursor.after_key) == (FACTS["first"], rows[2][0])
    assert cursor.total == len(rows) - 3
    page = ledger.read(lambda r: queue.queue_page(r, ALL, Order.QUALITY, 1, 50, FACTS["page_token"]))
    assert [item.candidate.key for item in page.items] == FACTS["rest_of_queue"]


def test_request_ids_of_before_are_answered_as_they_were_whoever_asks(ledger: SqliteLedger) -> None:
    answer = correct(ledger, "c6", "six", reviewer="ann", request_id="req-6", principal="ann")
    assert {"key": answer.key, "revision": answer.revision, "raw": answer.raw.decode()} == FACTS["answer_6"]
    asked = Correction("kiwi", "qa", "p", "r", "c", request_id="req-i")
    stored = ledger.write(lambda tx: ingest.ingest(tx, asked)).result()
    assert (stored.id, stored.created) == (FACTS["ingested"], False)


def test_records_keep_their_bytes_their_revisions_and_their_places(ledger: SqliteLedger) -> None:
    for id, known in FACTS["candidates"].items():
        found = ledger.read(lambda r, i=id: r.candidate(i))
        assert {"key": found.key, "revision": found.revision, "raw": found.raw.decode()} == known
    assert ledger.read(lambda r: r.candidate("c9")) is None
    stats = ledger.read(lambda r: r.stats(ALL))
    for name, value in FACTS["stats"].items():
        assert getattr(stats, name) == value
    assert stats == ledger.read(lambda r: r.stats(CandidateFilter(task_types=("qa",))))


def test_the_history_lives_on_in_the_words_of_today(ledger: SqliteLedger) -> None:
    said = {
        id: [(e.revision, e.action, e.status_after, e.source) for e in ledger.read(lambda r, i=id: r.history(i))]
        for id in FACTS["history"]
    }
    words = {"delete": "remove"}
    for id, entries in FACTS["history"].items():
        expected = []
        for revision, _file, action, actor, status, previous in entries:
            action = "overrule" if previous and "overruled" in previous else words.get(action, action)
            expected.append((revision, action, status, Source(actor == "external")))
        assert said[id] == expected
    [overruled] = [e for e in ledger.read(lambda r: r.history("c3")) if e.action == "overrule"]
    assert json.loads(overruled.change or "")["now"]["note"] == "overruled"


def test_revisions_jump_to_the_clock_once_and_keys_go_on_above_all_others(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    revision = ledger.read(lambda r: r.revision())
    assert abs(revision - time.time() * 1e6) < 600e6
    assert ledger.read(lambda r: r.first_revision()) == FACTS["first_revision"]
    highest = max(key for rows in FACTS["exports"].values() for key, *_ in rows)
    assert correct(ledger, "c10").revision == revision + 1
    assert exported(ledger, revision + 1)[-1][0] > highest
    ledger.close()
    again = SqliteLedger(directory, encode_example)
    assert again.read(lambda r: r.revision()) == revision + 1
    again.close()


def test_what_todays_rules_export_in_another_way_is_exported_anew(ledger: SqliteLedger) -> None:
    before = {id: encoded for _, id, encoded in FACTS["exports"][str(FACTS["last"])]}
    now = {id: encoded for _, id, encoded in exported(ledger, ledger.read(lambda r: r.revision()))}
    assert now.keys() - before.keys() == {"n0"}
    assert {id for id in before if now[id] != before[id]} == {"a2"}
    assert b"ShareGPT?" in bytes.fromhex(now["a2"])


def test_the_mirror_s_feed_has_every_record_and_what_waits_to_leave_its_file(ledger: SqliteLedger) -> None:
    mirror = ledger.mirror()
    with mirror.view() as view:
        approved = {one.id: one for one in view.changes(File.APPROVED, START, 100)}
        candidates = {one.id: one for one in view.changes(File.CANDIDATES, START, 100)}
    assert candidates.keys() == FACTS["candidates"].keys()
    assert {id for id, one in approved.items() if one.raw} == {
        "x0", "n0", "a2", FACTS["ingested"], *(f"c{n}" for n in (0, 1, 3, 4, 5, 6)),
    }  # fmt: skip
    assert 0 < approved["c1"].removed_revision < approved["c1"].revision
    assert (approved["x0"].source, approved["c0"].source) == (Source.EXTERNAL, Source.SERVICE)
    assert (candidates["c8"].source, candidates["a0"].source) == (Source.EXTERNAL, Source.EXTERNAL)


def test_versions_of_before_are_still_known_as_past_ones(ledger: SqliteLedger) -> None:
    mirror = ledger.mirror()
    epoch = mirror.take_over()
    decided = json.loads(FACTS["candidates"]["c0"]["raw"])
    undecided = {key: value for key, value in decided.items() if key not in ("reviewed_at", "reviewed_by")}
    undecided |= {"status": "needs_review", "corrected_response": None}
    old = parse(json.dumps(undecided).encode())
    [outcome] = mirror.take_in(epoch, File.CANDIDATES, [Found(old, ABSENT)], How.REWRITTEN, trusted=False)
    assert outcome.verdict is Verdict.STALE


def test_lines_that_are_no_records_and_in_no_file_are_kept_aside(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    assert (directory.private / "saved-candidates.jsonl").read_bytes() == b"{late and torn\n"


def test_an_upgraded_ledger_is_sound(directory: DataDirectory) -> None:
    SqliteLedger(directory, encode_example).close()
    assert inspect.problems(directory.ledger) == []


def test_an_upgraded_ledger_keeps_equal_lines_once_and_compresses_the_others(
    directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "ROWS", 4)
    monkeypatch.setattr(compression, "FIRST_AT", 8)
    monkeypatch.setattr(compression, "LEAST_SAMPLES", 4)
    monkeypatch.setattr(compression, "DICTIONARY_BYTES", 512)
    SqliteLedger(directory, encode_example).close()
    with sqlite3.connect(directory.ledger) as db:
        [dictionaries] = db.execute("SELECT count(*) FROM dictionaries").fetchone()
        shared = {id for (id,) in db.execute("SELECT id FROM records WHERE file = 1 AND body <> key")}
        compressed, stored = db.execute("SELECT sum(size > length(raw)), sum(size) FROM bodies").fetchone()
    db.close()
    assert (dictionaries, bool(compressed), bool(stored)) == (1, True, True)
    assert shared >= {"c0", "c4"}
    assert inspect.problems(directory.ledger) == []
    ledger = SqliteLedger(directory, encode_example)
    for id, known in FACTS["candidates"].items():
        assert ledger.read(lambda r, i=id: r.candidate(i)).raw.decode() == known["raw"]
    ledger.close()


def test_a_ledger_of_an_unknown_version_is_refused_and_left_alone(directory: DataDirectory) -> None:
    with sqlite3.connect(directory.ledger) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    connection.close()
    with pytest.raises(LedgerUnusable, match="another version"):
        SqliteLedger(directory, encode_example)


KILLED = """
import os, signal, sys
from pathlib import Path
from avocet_grpc import durable
from avocet_grpc.edge.convert import encode_example
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import engine, upgrade
from avocet_grpc.store.sqlite.session import SqliteSession

calls, last = 0, int(sys.argv[2])

def step(*_):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(owner, name):
    real = getattr(owner, name)
    def call(*args, **more):
        step()
        result = real(*args, **more)
        step()
        return result
    setattr(owner, name, call)

for owner, name in (
    (SqliteSession, "insert"), (upgrade.Upgrade, "_clear"), (upgrade, "sync_directory"), (upgrade, "put_in_place"),
    (durable.os, "replace"), (durable.os, "fsync"),
):
    counted(owner, name)
engine.SqliteLedger(DataDirectory(Path(sys.argv[1])), encode_example).close()
print(calls)
"""


@pytest.mark.timeout(600)
def test_a_kill_at_any_step_leaves_a_ledger_that_the_next_start_upgrades(tmp_path: Path) -> None:
    steps = int(upgraded_until(make_old(tmp_path / "whole"), 0).stdout.split()[-1])
    assert steps > 20
    for last in range(1, steps + 1):
        directory = make_old(tmp_path / f"killed-{last}")
        assert upgraded_until(directory, last).returncode == -signal.SIGKILL
        ledger = SqliteLedger(directory, encode_example)
        for when in ("first", "last"):
            assert exported(ledger, FACTS[when]) == FACTS["exports"][str(FACTS[when])]
        assert ledger.read(lambda r: r.stats(ALL)).by_status == FACTS["stats"]["by_status"]
        ledger.close()
        assert inspect.problems(directory.ledger) == []
        assert not list(directory.private.glob("*-upgrading*"))


def upgraded_until(directory: DataDirectory, last: int) -> subprocess.CompletedProcess[str]:
    """Upgrade in a process of its own, which is killed at this step."""
    command = [sys.executable, "-c", KILLED, str(directory.root), str(last)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "."})


def test_the_program_of_version_3_finds_the_row_by_which_it_refuses(
    ledger: SqliteLedger, directory: DataDirectory
) -> None:
    """It reads all of `meta` as numbers by name, and goes on only if `schema_version` is 3."""
    with sqlite3.connect(directory.ledger) as connection:
        found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    connection.close()
    assert found["schema_version"] == 4
