"""A line that another program took out counts as deleted once that is certain, also while other programs append."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.mirror.inbound import look
from tests.mirror.in_process import InProcess, opened
from tests.support import record, records, write_records

COUNT = 60
LONG = "x" * 3_000
"""So that the beginning of the file lies before the end that each look compares."""
GONE = "c20"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[InProcess]:
    """On candidates that have been in the file for long."""
    write_records(tmp_path / "sft_candidates.jsonl", [record(f"c{n}", model_response=LONG) for n in range(COUNT)])
    with opened(tmp_path) as made:
        made.wait(3_600)
        assert made.round()
        yield made


def is_there(service: InProcess, id: str = GONE) -> bool:
    return service.served(id) is not None


def delete(path: Path) -> None:
    draft = path.with_name("draft")
    write_records(draft, [one for one in records(path) if one["id"] != GONE])
    os.replace(draft, path)


@pytest.mark.parametrize("held", [False, True])
def test_who_appends_all_the_time_does_not_put_off_that_a_line_is_deleted(
    service: InProcess, tmp_path: Path, held: bool
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    delete(path)
    took, holding = 0, contextlib.ExitStack()
    if held:
        # For all that is known it is being rewritten slowly.
        holding.enter_context(path.open("a"))
    with holding:
        while is_there(service):
            assert took < look.HELD_S + 10, "it is never deleted"
            with path.open("a") as file:
                file.write(json.dumps(record(f"a{took}")) + "\n")
            service.round()
            service.wait(5)
            service.round()
            took += 5
    assert took >= (look.HELD_S if held else look.SETTLE_S)
    assert service.actions(GONE)[0] == "remove"
    assert service.stop()
    assert len(records(path)) == COUNT - 1 + took // 5


def test_a_line_that_an_append_hides_the_loss_of_is_not_deleted_with_others_at_once(
    service: InProcess, tmp_path: Path
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    delete(path)
    service.round()
    service.wait(look.SETTLE_S - 1)
    data = path.read_bytes()
    at = data.index(b'{"id": "c3"')
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b" " * (data.index(b"\n", at) - at))
        file.seek(0, os.SEEK_END)
        file.write(json.dumps(record("a")).encode() + b"\n")
    service.round()
    for _ in range(4):
        service.wait(1)
        service.round()
    assert is_there(service, "c3")
    service.wait(look.SETTLE_S)
    service.round()
    assert not is_there(service, "c3") and not is_there(service)


@pytest.mark.parametrize("between", ["", "\n"], ids=["glued to the half line", "behind a newline"])
def test_a_file_that_was_cut_in_a_line_and_appended_to_at_once_is_damage_and_no_deletion(
    service: InProcess, tmp_path: Path, between: str
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    whole = path.read_text()
    half = whole[: whole.index('{"id": "c55"') + 200]
    path.write_text(half + between + json.dumps(record("appended")) + "\n" + json.dumps(record("later")) + "\n")
    for _ in range(10):
        service.round()
        service.wait(look.SETTLE_S / 2)
    assert [n for n in range(COUNT) if not is_there(service, f"c{n}")] == []
    assert is_there(service, "later") and is_there(service, "appended") == bool(between)
    assert set(whole.splitlines()) < set(path.read_text().splitlines())


def test_a_line_that_another_program_spoils_takes_its_record_with_it_and_no_other(
    service: InProcess, tmp_path: Path
) -> None:
    path = tmp_path / "sft_candidates.jsonl"
    lines = path.read_text().splitlines()
    lines[40] = lines[40][:-1]
    path.write_text("\n".join([*lines[:45], *lines[46:]]) + "\n")
    for _ in range(10):
        service.round()
        service.wait(look.SETTLE_S / 2)
    assert [n for n in range(COUNT) if not is_there(service, f"c{n}")] == [40, 45]
