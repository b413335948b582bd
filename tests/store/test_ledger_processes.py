"""Several processes write one ledger, and are killed while they do."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core.errors import StorageFailed
from avocet_grpc.core.model import CandidateFilter, ExportSelection, File
from avocet_grpc.core.ports.ledger import HistoryCursor, Transaction
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite import inspect
from avocet_grpc.store.sqlite.engine import SqliteLedger
from tests.exports import batch as batch_of
from tests.faults.support import need, rounds
from tests.ledger_suite import candidate_line, encode, import_candidates, newest

ROOT = Path(__file__).parents[2]
COUNT = 60


class Writer:
    """One `tests.store.writer_process`, and what it was answered."""

    def __init__(self, root: Path, name: str, count: int = COUNT, *prefix: str, **environment: str) -> None:
        self.name, self.told = name, list[dict[str, Any]]()
        command = [*prefix, sys.executable, "-m", "tests.store.writer_process", str(root), name, str(count)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | environment
        )
        self._ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.told.append(json.loads(line))
                if "ready" in self.told[-1]:
                    self._ready.set()

    def wait_until_ready(self) -> None:
        assert self._ready.wait(60)

    def go(self) -> None:
        """Let it write, once it is ready."""
        self.wait_until_ready()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write("\n")
            self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end."""
        code = self.process.wait(120)
        self._listener.join(10)
        return code

    def answers(self, kind: str) -> dict[int, dict[str, Any]]:
        return {one["n"]: one for one in self.told if one.get("kind") == kind and "refused" not in one}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    import_candidates(ledger, COUNT)
    yield ledger
    ledger.close()


def history_of(ledger: SqliteLedger, after: int) -> list[Any]:
    return ledger.read(lambda r: r.history_after(HistoryCursor(after), 10_000))


def example_ids(ledger: SqliteLedger, revision: int) -> bytes:
    batch = batch_of(ledger, ExportSelection(revision), 0, 10_000, 1 << 30)
    return batch.ids if batch else b""


def test_two_processes_write_one_order_and_lose_nothing(ledger: SqliteLedger, tmp_path: Path) -> None:
    start = newest(ledger)
    writers = [Writer(tmp_path, name) for name in ("ann", "bob")]
    pins: list[tuple[int, bytes]] = []
    for writer in writers:
        writer.wait_until_ready()
    for writer in writers:
        writer.go()
    while any(writer.process.poll() is None for writer in writers):
        revision = newest(ledger)
        pins.append((revision, example_ids(ledger, revision)))
    assert [writer.end() for writer in writers] == [0, 0]

    entries = history_of(ledger, start)
    assert [entry.revision for entry in entries] == list(range(start + 1, start + 1 + len(entries)))
    assert len(entries) == newest(ledger) - start == 2 * COUNT + COUNT + COUNT
    assert len(pins) > 10
    for revision, seen in pins:
        assert example_ids(ledger, revision) == seen

    shared = [writer.answers("shared") for writer in writers]
    assert {n: one["id"] for n, one in shared[0].items()} == {n: one["id"] for n, one in shared[1].items()}
    decided = Counter(n for writer in writers for n in writer.answers("decided"))
    assert decided == dict.fromkeys(range(COUNT), 1)
    assert all(writer.answers("decided") for writer in writers)
    stats = ledger.read(lambda r: r.stats(CandidateFilter()))
    assert stats.by_status == {"approved": 4 * COUNT}
    assert inspect.problems(DataDirectory(tmp_path).ledger) == []


def test_what_others_have_open_is_neither_checked_again_nor_sealed_before_the_last_one_closes(tmp_path: Path) -> None:
    first, second = (SqliteLedger(DataDirectory(tmp_path), encode) for _ in range(2))
    seal = DataDirectory(tmp_path).ledger.with_name("ledger.db-seal")
    import_candidates(first, 3)
    assert second.read(lambda r: r.stats(CandidateFilter())).total == 3
    first.close()
    assert not seal.exists()
    second.close()
    assert seal.exists()
    SqliteLedger(DataDirectory(tmp_path), encode).close()


def test_a_kill_at_any_moment_loses_nothing_that_was_answered(ledger: SqliteLedger, tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance, killed = random.Random(seed), 0
    acked: dict[str, str] = {}
    for number in range(rounds(4, 30)):
        writers = [Writer(tmp_path, f"w{number}-{n}", 400) for n in range(2)]
        for writer in writers:
            writer.go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            writers[0].process.wait(chance.uniform(0.05, 0.6))
        for writer in writers:
            killed += writer.process.poll() is None
            writer.process.send_signal(signal.SIGKILL)
            writer.end()
            acked |= {one["id"]: writer.name for one in writer.answers("own").values()}
            for n, one in writer.answers("shared").items():
                assert acked.setdefault(f"shared {n}", one["id"]) == one["id"]
    assert killed > 2
    assert len(acked) > 50
    ids = {entry.id for entry in history_of(ledger, 0)}
    assert {value if key.startswith("shared ") else key for key, value in acked.items()} <= ids
    assert inspect.problems(DataDirectory(tmp_path).ledger) == []


@pytest.mark.parametrize("point", ["commit.before", "commit.after"])
def test_a_kill_beside_the_commit_leaves_all_of_it_or_nothing(tmp_path: Path, point: str) -> None:
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    import_candidates(ledger, COUNT)
    start = newest(ledger)
    writer = Writer(tmp_path, "ann", COUNT, AVOCET_FAILPOINT=f"{point}:die:5")
    writer.go()
    assert writer.end() == -signal.SIGKILL
    answered = {one["id"] for kind in ("own", "shared") for one in writer.answers(kind).values()}
    entries = history_of(ledger, start)
    assert answered <= {entry.id for entry in entries}
    assert len(entries) == newest(ledger) - start >= len(answered)
    ledger.close()
    again = SqliteLedger(DataDirectory(tmp_path), encode)
    assert inspect.problems(DataDirectory(tmp_path).ledger) == []
    again.close()


def test_a_full_disk_refuses_stores_nothing_and_takes_up_again(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.store.test_ledger_processes import fill;"
        " fill(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "fine"


def fill(root: Path) -> None:
    """In a process of its own: its files cannot grow any more, and later can again."""
    from avocet_grpc.core.errors import StorageFull
    from tests.ledger_suite import correct
    from tests.store.writer_process import limit_files

    ledger = SqliteLedger(DataDirectory(root), encode)
    import_candidates(ledger, 200)
    failed: list[bool] = []
    full: list[bool] = []
    ledger.on_failure(lambda: failed.append(True))
    ledger.on_full(lambda: full.append(True))
    size = max(path.stat().st_size for path in DataDirectory(root).private.iterdir())
    limit_files(size + 400_000)
    done = 0
    with pytest.raises(StorageFull):
        for done in range(200):
            # What repeats itself would hardly grow the files.
            correct(ledger, f"c{done}", secrets.token_hex(8_000))
    assert done > 1
    before = ledger.read(lambda r: r.stats(CandidateFilter()))
    assert before.by_status["approved"] == done
    with pytest.raises(StorageFull):
        correct(ledger, f"c{done}", secrets.token_hex(600_000))
    assert ledger.read(lambda r: r.stats(CandidateFilter())) == before
    limit_files(1 << 40)
    correct(ledger, f"c{done}", "x" * 300_000)
    assert ledger.read(lambda r: r.stats(CandidateFilter())).by_status["approved"] == done + 1
    assert full and not failed
    ledger.close()
    assert inspect.problems(DataDirectory(root).ledger) == []
    print("fine")


def test_a_failed_sync_acknowledges_nothing_more_and_is_not_tried_again(tmp_path: Path) -> None:
    need("strace")
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    import_candidates(ledger, COUNT)
    ledger.close()
    trace = tmp_path / "trace"
    inject = ("-e", "trace=fsync,fdatasync", "-e", "inject=fdatasync:error=EIO:when=12")
    writer = Writer(tmp_path, "ann", COUNT, "strace", "-f", "-qq", "-y", "-o", str(trace), *inject)
    writer.go()
    assert writer.end() == 5
    assert {"failed": True} in writer.told
    lines = trace.read_text().splitlines()
    [injected] = [number for number, line in enumerate(lines) if "(INJECTED)" in line]
    assert "ledger.db" in lines[injected]
    assert not [line for line in lines[injected + 1 :] if "ledger.db" in line]
    answered = {one["id"] for kind in ("own", "shared") for one in writer.answers(kind).values()}
    assert answered
    again = SqliteLedger(DataDirectory(tmp_path), encode)
    assert answered <= {entry.id for entry in history_of(again, 0)}
    again.close()


ADOPT = """
import os, secrets, signal, sys
from pathlib import Path
from avocet_grpc.core.model import File
from avocet_grpc.layout import DataDirectory
from avocet_grpc.store.sqlite.engine import SqliteLedger
from avocet_grpc.store.sqlite import engine
from tests.ledger_suite import candidate_line, encode

engine.LOADING_CACHE_KB = 1024

def lines(last):
    for n in range(20_000):
        if n == last:
            os.kill(os.getpid(), signal.SIGKILL)
        yield candidate_line(n, text=secrets.token_hex(500))

ledger = SqliteLedger(DataDirectory(Path(sys.argv[1])), encode)
mirror = ledger.mirror()
epoch = mirror.take_over()
for _ in mirror.adopt(epoch, File.CANDIDATES, lines(int(sys.argv[2]))):
    pass
"""


def test_a_kill_in_the_midst_of_an_adoption_leaves_nothing_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ADOPT, str(tmp_path), "19000"]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL
    assert DataDirectory(tmp_path).ledger.stat().st_size > 5_000_000
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    with ledger.mirror().view() as view:
        assert view.is_empty(File.CANDIDATES)
    import_candidates(ledger, 3)
    ledger.close()
    assert inspect.problems(DataDirectory(tmp_path).ledger) == []


@pytest.mark.parametrize("alone", [True, False])
def test_an_adoption_leaves_the_ledger_as_it_works_best_and_others_may_have_it_open(
    tmp_path: Path, alone: bool
) -> None:
    ledger = SqliteLedger(DataDirectory(tmp_path), encode)
    other = None if alone else SqliteLedger(DataDirectory(tmp_path), encode)
    mirror = ledger.mirror()
    lines = [candidate_line(n) for n in range(1_500)]
    assert len(list(mirror.adopt(mirror.take_over(), File.CANDIDATES, lines))) == 1_500
    assert ledger._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2
    late = SqliteLedger(DataDirectory(tmp_path), encode)
    for each in filter(None, (ledger, other, late)):
        assert each.read(lambda r: r.stats(CandidateFilter())).total == 1_500
        each.write(lambda tx: tx.new_revision()).result()
    for each in filter(None, (ledger, other, late)):
        each.close()
    assert inspect.problems(DataDirectory(tmp_path).ledger) == []


def test_after_a_failed_sync_nobody_else_commits_not_even_one_that_waits_for_its_turn(tmp_path: Path) -> None:
    first, second = (SqliteLedger(DataDirectory(tmp_path), encode) for _ in range(2))
    holds, waits = threading.Event(), threading.Event()

    def fails(tx: Transaction) -> None:
        holds.set()
        assert waits.wait(10)
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    failed = first.write(fails)
    assert holds.wait(10)
    late = second.write(lambda tx: tx.put(File.CANDIDATES, candidate_line(1)))
    assert not late.done()
    waits.set()
    with pytest.raises(StorageFailed):
        failed.result(10)
    # As at the end of the first process.
    first._let_go()
    with pytest.raises(StorageFailed):
        late.result(10)
    second._let_go()
    third = SqliteLedger(DataDirectory(tmp_path), encode)
    third.write(lambda tx: tx.put(File.CANDIDATES, candidate_line(2))).result(10)
    assert third.read(lambda reader: reader.stats(CandidateFilter())).total == 1
    third.close()
