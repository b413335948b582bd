"""Traces that once lost something, doubled something or brought something back; each ends well."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import ingest, review
from avocet_grpc.core.model import Action, CandidateFilter, Correction, Decision, ExportSelection, File, UndoRequest
from avocet_grpc.core.ports.mirror import Cursor, FeedExpired
from avocet_grpc.mirror import feed
from avocet_grpc.mirror.feed import Feed
from tests.mirror.in_process import InProcess, SteppedClock, opened
from tests.support import Json, record, records, write_records

COUNT = 8


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    """On candidates that have been in the file for long."""
    write_records(tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(COUNT)])
    with opened(tmp_path) as made:
        made.wait(3_600)
        yield made


def path_of(service: InProcess, file: File) -> Path:
    return service.data / ("sft_candidates.jsonl" if file is File.CANDIDATES else "sft_approved.jsonl")


def correct(service: InProcess, id: str, text: str = "better") -> None:
    service.do(lambda tx: review.submit(tx, Decision(id, Action.CORRECT, text)))


def undo(service: InProcess, id: str) -> None:
    service.do(lambda tx: review.undo(tx, UndoRequest(id)))


def rewrite(path: Path, contents: list[Json]) -> None:
    write_records(path.with_name("draft"), contents)
    os.replace(path.with_name("draft"), path)


def append(path: Path, content: Json) -> None:
    with path.open("a") as out:
        out.write(json.dumps(content) + "\n")


def rest(service: InProcess, seconds: float = 15) -> None:
    """Long enough for a missing line to count as deleted."""
    for _ in range(int(seconds)):
        service.wait(1)
        service.round()
    service.come_to_rest()


def exported(service: InProcess) -> dict[str, str]:
    revision = service.ask(lambda reader: reader.revision())
    batch = service.ask(lambda reader: reader.export_batch(ExportSelection(revision), 0, 100, 1 << 20))
    return dict.fromkeys(batch.ids.decode().split(), "") if batch else {}


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


def test_a_decision_that_was_undone_again_is_not_deleted_by_a_reading_from_before(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    stale = [one for one in records(path) if one["id"] != "c3"]
    correct(service, "c3")
    undo(service, "c3")
    rewrite(path, stale)
    rest(service, 70)
    assert service.served("c3") and "c3" in {one["id"] for one in records(path)}


@pytest.mark.parametrize("kind", ["edit", "delete"])
def test_a_rewrite_that_was_read_before_a_decision_does_not_undo_it(service: InProcess, kind: str) -> None:
    path = path_of(service, File.CANDIDATES)
    stale = records(path)
    correct(service, "c3")
    service.come_to_rest()
    service.wait(20)
    if kind == "edit":
        stale[3]["task_name"] = "edited"
    else:
        del stale[3]
    rewrite(path, stale)
    rest(service, 70)
    served = service.served("c3")
    assert served is not None and served["status"] == "approved" and served["task_name"] != "edited"
    assert {one["id"]: one for one in records(path)}["c3"] == served
    assert (service.actions("c3")[0] == "overrule") == (kind == "edit")


def test_an_edit_that_holds_what_the_decision_set_is_accepted_at_once(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    correct(service, "c3")
    service.come_to_rest()
    contents = records(path)
    for one in contents:
        if one["id"] == "c3":
            one["task_name"] = "edited"
    rewrite(path, contents)
    rest(service)
    served = service.served("c3")
    assert served is not None and (served["task_name"], served["status"]) == ("edited", "approved")


@pytest.mark.parametrize("reached", [True, False])
def test_an_undone_example_does_not_come_back_by_an_edit_that_was_read_before(
    service: InProcess, reached: bool
) -> None:
    path = path_of(service, File.APPROVED)
    correct(service, "c3")
    service.come_to_rest()
    service.wait(100)
    stale = records(path)
    stale[0]["task_name"] = "edited"
    undo(service, "c3")
    if reached:
        service.come_to_rest()
        service.wait(20)
    rewrite(path, stale)
    rest(service, 70)
    assert records(path) == [] and exported(service) == {} and service.served("c3", File.APPROVED) is None


def test_an_example_that_is_appended_after_an_undo_is_meant(service: InProcess) -> None:
    path = path_of(service, File.APPROVED)
    correct(service, "c2")
    correct(service, "c3")
    undo(service, "c3")
    service.come_to_rest()
    append(path, record("c3", status="approved", corrected_response="by another program"))
    rest(service)
    assert exported(service).keys() == {"c2", "c3"}


def test_a_stale_rewrite_while_the_mirror_was_down_deletes_nothing_however_late_it_is_noticed(
    service: InProcess,
) -> None:
    path = path_of(service, File.APPROVED)
    for n in range(6):
        correct(service, f"c{n}")
    service.come_to_rest()
    service.wait(100)
    stale = records(path)
    correct(service, "c7")
    service.come_to_rest()
    service.crash()
    service.wait(5)
    rewrite(path, [*stale, record("new", status="approved", corrected_response="x")])
    service.wait(100)
    service.open()
    rest(service, 70)
    assert exported(service).keys() == {f"c{n}" for n in range(6)} | {"c7", "new"}


@pytest.mark.parametrize("step", [3_600, 86_400, -3_600, -86_400])
def test_a_step_of_the_clock_loses_no_acknowledged_record(tmp_path: Path, step: int) -> None:
    clock, path = SteppedClock(), tmp_path / "sft_approved.jsonl"
    write_records(path, [record(f"a{n}", status="approved", corrected_response="x") for n in range(5)])
    with opened(tmp_path, clock) as service:
        service.wait(3_600)
        stale = records(path)
        made = service.do(lambda tx: ingest.ingest(tx, Correction("peregrine", "qa", "1+1?", "3", "2")))
        service.come_to_rest()
        service.wait(2)
        rewrite(path, stale)
        service.round()
        clock.stepped += step
        rest(service, 30)
        assert made.id in exported(service) and made.id in {one["id"] for one in records(path)}


def test_a_second_line_of_an_id_never_stands_in_front_of_a_decision(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    append(path, record("c3", status="discarded", model_response="second"))
    service.come_to_rest()
    correct(service, "c3")
    service.come_to_rest()
    first = next(one for one in records(path) if one["id"] == "c3")
    assert first["status"] == "approved"
    assert Counter(one["id"] for one in records(path))["c3"] == 2
    assert service.stop()
    assert next(one for one in records(path) if one["id"] == "c3") == first


def test_a_decision_over_a_second_line_is_made_in_place_in_a_file_with_a_hard_link(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    append(path, record("c3", status="discarded", model_response="second"))
    service.come_to_rest()
    os.link(path, path.with_name("link"))
    service.round()
    correct(service, "c3")
    service.come_to_rest()
    assert path.stat().st_ino == path.with_name("link").stat().st_ino
    assert [one["status"] for one in records(path) if one["id"] == "c3"] == ["approved", "discarded"]


def test_an_overruled_edit_is_noted_once_however_often_the_mirror_is_killed(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    stale = records(path)
    stale[3]["task_name"] = "edited"
    correct(service, "c3")
    service.come_to_rest()
    rewrite(path, stale)
    for at in range(2, 14):
        service._disk.left = at
        try:
            service.round()
        except BaseException as crash:
            assert type(crash).__name__ == "Crash"
        service.crash()
        service.open()
    rest(service, 70)
    assert list(service.actions("c3")).count("overrule") == 1
    served = service.served("c3")
    assert served is not None and served["status"] == "approved"


def test_an_edit_to_something_unexportable_beside_an_exportable_duplicate_counts_as_the_file_says(
    service: InProcess,
) -> None:
    path = path_of(service, File.APPROVED)
    write_records(path, [record("d", status="approved", corrected_response=text) for text in ("one", "two")])
    service.come_to_rest()
    rest(service, 70)
    contents = records(path)
    contents[1]["corrected_response"] = " "
    rewrite(path, contents)
    rest(service)
    served = service.served("d", File.APPROVED)
    assert served is not None and served["corrected_response"] == "one"
    assert service.stop()
    assert [one["corrected_response"] for one in records(path)] == ["one", " "] or records(path)[-1][
        "corrected_response"
    ] == "one"


def test_a_plain_reader_never_sees_an_id_twice_that_was_undone_brought_back_and_approved_again(
    service: InProcess,
) -> None:
    """Two readers hold the file, so that nothing of it can be changed in place."""
    path = path_of(service, File.APPROVED)
    for n in range(5):
        correct(service, f"c{n}", "first")
    service.come_to_rest()
    service.wait(100)
    twice: list[str] = []

    def look() -> None:
        ids = [one["id"] for one in records(path)]
        twice.extend(id for id in set(ids) if ids.count(id) > 1)

    for n in range(5):
        stale = records(path)
        undo(service, f"c{n}")
        service.come_to_rest()
        with ExitStack() as readers:
            rewrite(path, stale)
            for _ in range(2):
                readers.enter_context(path.open("rb"))
            service.round()
            look()
            correct(service, f"c{n}", "second")
            for _ in range(20):
                service.round()
                look()
                service.wait(0.1)
        service.come_to_rest()
        look()
        assert {one["id"]: one["corrected_response"] for one in records(path)}[f"c{n}"] == "second"
    assert twice == []


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
    expired = [True, True]
    ledger: Any = service.mirror._files[File.CANDIDATES]._session.ledger
    view_of = ledger._ledger.view

    class Expired:
        def __init__(self, view: Any) -> None:
            self._view = view

        def __getattr__(self, name: str) -> Any:
            return getattr(self._view, name)

        def changes(self, *what: Any) -> Any:
            if expired:
                expired.pop()
                raise FeedExpired
            return self._view.changes(*what)

    @contextmanager
    def view() -> Iterator[Any]:
        with view_of() as one:
            yield Expired(one)

    ledger._ledger.view = view
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
