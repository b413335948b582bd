"""What a mirror follows by: the feed, the index and the ledger, cut short, lost, restored, or another one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import CandidateFilter, Correction, File
from avocet_grpc.core.ports.mirror import Cursor
from avocet_grpc.mirror import feed
from avocet_grpc.mirror.feed import Feed
from tests.mirror.in_process import InProcess, opened
from tests.mirror.traces import COUNT, append, correct, expire_feed, exported, path_of, rest, service, undo
from tests.support import record, records, write_records

__all__ = ["service"]


def test_a_feed_read_in_small_pages_brings_all_records_of_one_revision(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PAGE", 2)
    with service.ledger.mirror().view() as view:
        start = view.records(File.CANDIDATES, 0, 1)[0]
        made = Feed(File.CANDIDATES, Cursor(start.revision - 1, 0))
        made.poll(view)
    ids = [change.id for change in made.changes()]
    assert sorted(ids) == [f"c{n}" for n in range(COUNT)]
    assert made.level_without(ids[1:]) < Cursor(start.revision, start.key) <= made.level_without(ids[:1])
    made.done(ids)
    assert made.level_without(()) > Cursor(start.revision, start.key + COUNT)


def test_an_approval_that_reaches_both_files_is_one_commit_of_the_ledger(service: InProcess) -> None:
    commits: list[int] = []
    service.come_to_rest()
    service.round()
    service.ledger.on_commit(lambda: commits.append(1))
    correct(service, "c3")
    for _ in range(5):
        service.round()
    assert len(records(path_of(service, File.APPROVED))) == 1
    assert len(commits) == 1, "the report of what stands in the files comes a second later"
    service.wait(2)
    for _ in range(3):
        service.round()
    assert len(commits) <= 3


def test_eight_megabytes_of_other_programs_lines_are_one_commit_of_the_ledger(service: InProcess) -> None:
    commits: list[int] = []
    path = path_of(service, File.CANDIDATES)
    service.come_to_rest()
    with path.open("a") as out:
        for n in range(2_000):
            out.write(json.dumps(record(f"x{n}", model_response="x" * 2_000)) + "\n")
    service.ledger.on_commit(lambda: commits.append(1))
    service.round()
    assert service.ask(lambda reader: reader.stats(CandidateFilter())).total == COUNT + 2_000
    assert len(commits) <= 2


def test_a_restored_ledger_takes_back_what_the_files_have(service: InProcess, tmp_path: Path) -> None:
    correct(service, "c1")
    correct(service, "c2")
    service.come_to_rest()
    service.crash()
    shutil.copytree(tmp_path / ".avocet", tmp_path / "backup")
    service.open()
    undo(service, "c1")
    correct(service, "c3")
    made = service.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
    service.come_to_rest()
    want = {one["id"]: one for one in records(path_of(service, File.CANDIDATES))}
    assert service.stop()
    index = (tmp_path / ".avocet" / "mirror.db").read_bytes()
    shutil.rmtree(tmp_path / ".avocet")
    shutil.copytree(tmp_path / "backup", tmp_path / ".avocet")
    (tmp_path / ".avocet" / "running").unlink(missing_ok=True)
    for name in ("mirror.db-wal", "mirror.db-shm"):
        (tmp_path / ".avocet" / name).unlink(missing_ok=True)
    (tmp_path / ".avocet" / "mirror.db").write_bytes(index)
    service.open()
    rest(service)
    have = {one["id"]: one for one in records(path_of(service, File.CANDIDATES))}
    assert have.keys() == want.keys() and made.id in have
    assert have["c3"]["status"] == want["c3"]["status"] == "approved"
    assert all(service.served(id) == one for id, one in have.items())


def test_a_feed_that_no_longer_reaches_back_is_made_good_by_a_look_at_everything(service: InProcess) -> None:
    for n in range(5):
        correct(service, f"c{n}")
    service.come_to_rest()
    undo(service, "c1")
    correct(service, "c6")
    expired = expire_feed(service, File.CANDIDATES, times=2)
    service.come_to_rest()
    assert expired == []
    assert {one["id"] for one in records(path_of(service, File.APPROVED))} == {"c0", "c2", "c3", "c4", "c6"}
    assert sum(one["status"] == "approved" for one in records(path_of(service, File.CANDIDATES))) == 5


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("loss", ["deleted", "truncated", "of another directory", "older"])
def test_an_index_that_is_lost_or_another_one_loses_deletes_and_doubles_nothing(
    service: InProcess, tmp_path: Path, loss: str, end: str
) -> None:
    candidates, approved = path_of(service, File.CANDIDATES), path_of(service, File.APPROVED)
    index = tmp_path / ".avocet" / "mirror.db"
    append(candidates, record("c3", model_response="second"))
    with candidates.open("ab") as out:
        out.write(b'{"id": "torn\n')
    for n in range(4):
        correct(service, f"c{n}")
    service.come_to_rest()
    service.crash()
    old = index.read_bytes()
    service.open()
    correct(service, "c5")
    undo(service, "c1")
    service.come_to_rest()
    want = [sorted(path.read_bytes().split()) for path in (candidates, approved)]
    if end == "stop":
        assert service.stop()
    else:
        service.crash()
    for suffix in ("-wal", "-shm"):
        index.with_name(index.name + suffix).unlink(missing_ok=True)
    if loss == "deleted":
        index.unlink()
    elif loss == "truncated":
        os.truncate(index, index.stat().st_size // 2)
    elif loss == "older":
        index.write_bytes(old)
    else:
        index.write_bytes(index_of_another_directory(tmp_path.parent / f"{tmp_path.name}-other"))
    service.open()
    rest(service, 70)
    assert [sorted(path.read_bytes().split()) for path in (candidates, approved)] == want
    assert exported(service).keys() == {"c0", "c2", "c3", "c5"}
    stats = service.ask(lambda reader: reader.stats(CandidateFilter()))
    assert (stats.total, stats.malformed, stats.duplicate_ids) == (COUNT, 1, 1)


def index_of_another_directory(directory: Path) -> bytes:
    directory.mkdir()
    write_records(directory / "sft_candidates.jsonl", [record(f"other{n}") for n in range(3)])
    with opened(directory) as other:
        assert other.stop()
    return (directory / ".avocet" / "mirror.db").read_bytes()
