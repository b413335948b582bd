"""Traces that once lost something, doubled something or brought something back; each ends well."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from avocet_grpc.core import ingest
from avocet_grpc.core.model import Correction, File
from tests.mirror.in_process import Crash, InProcess, SteppedClock, opened
from tests.mirror.traces import append, correct, exported, path_of, rest, rewrite, service, undo
from tests.support import record, records, write_records

__all__ = ["service"]


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
    service.crash()
    rewrite(path, stale)
    for at in range(6):
        service._disk.left = at
        with contextlib.suppress(Crash):
            service.open()
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
