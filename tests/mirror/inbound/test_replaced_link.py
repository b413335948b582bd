"""A symbolic link that another program replaces is followed: the file that readers see is kept level."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision
from tests.mirror.in_process import InProcess, opened
from tests.support import Json, record, records, write_records

COUNT = 20


@pytest.fixture
def link(tmp_path: Path) -> Path:
    target = tmp_path / "elsewhere" / "real.jsonl"
    target.parent.mkdir()
    write_records(target, [record(f"c{n}") for n in range(COUNT)])
    (tmp_path / "data").mkdir()
    link = tmp_path / "data" / "sft_candidates.jsonl"
    link.symlink_to(target)
    return link


@pytest.fixture
def service(link: Path) -> Iterator[InProcess]:
    with opened(link.parent) as made:
        made.wait(3_600)
        yield made


def come_to_rest(service: InProcess) -> None:
    for _ in range(200):
        if service.round():
            return
        service.wait(0.1)
    raise AssertionError("it does not come to rest")


def correct(service: InProcess, id: str) -> None:
    service.do(lambda tx: review.submit(tx, Decision(id, Action.CORRECT, f"better {id}")))


def seen(path: Path) -> dict[str, Json]:
    found = records(path)
    assert len({one["id"] for one in found}) == len(found)
    return {one["id"]: one for one in found}


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_a_link_that_is_replaced_is_followed_and_no_decision_is_undone(
    service: InProcess, link: Path, kind: str
) -> None:
    draft, other = link.with_name("draft"), link.parent.parent / "other.jsonl"
    content = link.read_bytes() + json.dumps(record("foreign")).encode() + b"\n"
    correct(service, "c1")
    come_to_rest(service)
    if kind == "file":
        draft.write_bytes(content)
    else:
        draft.symlink_to(other)
        if kind == "link":
            other.write_bytes(content)
    correct(service, "c2")
    os.replace(draft, link)
    correct(service, "c3")
    for _ in range(2):
        come_to_rest(service)
        found = seen(link)
        assert {id for id, one in found.items() if one["corrected_response"]} == {"c1", "c2", "c3"}
        assert len(found) == COUNT + (kind != "dangling link")
        assert link.is_symlink() == (kind != "file")
        assert service.stop()
        assert seen(link) == found
        service.open()
    service.crash()


def test_a_stop_follows_a_link_that_is_replaced_just_before(service: InProcess, link: Path) -> None:
    correct(service, "c1")
    draft = link.with_name("draft")
    draft.write_bytes(link.read_bytes())
    os.replace(draft, link)
    assert service.stop()
    assert seen(link)["c1"]["corrected_response"] == "better c1"


def test_late_lines_of_a_file_that_was_displaced_before_the_link_was_replaced_are_not_lost(
    service: InProcess, link: Path
) -> None:
    with link.open("a") as late:
        correct(service, "c1")
        come_to_rest(service)
        assert os.fstat(late.fileno()).st_ino != link.stat().st_ino, "it was not replaced"
        draft = link.with_name("draft")
        draft.write_bytes(link.read_bytes())
        os.replace(draft, link)
        come_to_rest(service)
        late.write(json.dumps(record("late")) + "\n")
    come_to_rest(service)
    come_to_rest(service)
    assert seen(link).keys() == {f"c{n}" for n in range(COUNT)} | {"late"}
    assert service.stop()
    assert not list(link.parent.parent.rglob("*.displaced"))
