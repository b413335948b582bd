"""A whole file that others write while a look at it is under way: its lines were not appended to what was seen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess
from tests.mirror.traces import append, correct, path_of, rest, rewrite, service, undo
from tests.support import record, records

__all__ = ["service"]


@pytest.fixture
def decided(service: InProcess) -> dict[str, Any]:
    """The approved line of c0, decided again just now; the line before it is what other programs have read."""
    correct(service, "c1")
    correct(service, "c0", "before")
    rest(service)
    service.wait(100)
    (read,) = (one for one in records(path_of(service, File.APPROVED)) if one["id"] == "c0")
    undo(service, "c0")
    correct(service, "c0", "ours")
    service.come_to_rest()
    return {"read": read, "ours": service.served("c0", File.APPROVED)}


def written_back(service: InProcess, read: dict[str, Any]) -> bytes:
    """The whole file from before our last decision, so long that the edited line begins at the end of the file now."""
    path = path_of(service, File.APPROVED)
    others = [json.dumps(one).encode() for one in records(path) if one["id"] != "c0"]
    size = path.stat().st_size - sum(len(line) + 1 for line in others)
    first = others[0] + b" " * size
    data = b"".join(line + b"\n" for line in [first, *others[1:]])
    assert len(data) == path.stat().st_size
    return data + json.dumps(read | {"corrected_response": "other"}).encode() + b"\n"


def overwrite(service: InProcess, data: bytes) -> None:
    with path_of(service, File.APPROVED).open("r+b") as file:
        file.write(data)
        file.truncate()


def test_a_rewrite_while_an_edit_is_judged_does_not_take_back_a_decision_of_which_its_author_has_not_read(
    service: InProcess, decided: dict[str, Any]
) -> None:
    path = path_of(service, File.APPROVED)
    contents = records(path)
    (other,) = (one for one in contents if one["id"] == "c1")
    other["task_name"] = "edited"
    overwrite(service, b"".join(json.dumps(one).encode() + b"\n" for one in contents))
    ledger: Any = service.mirror._files[File.APPROVED]._session.ledger
    accept = ledger.accept_edits
    to_come = [True]

    def accept_edits(*what: Any, **more: Any) -> Any:
        outcomes = accept(*what, **more)
        if to_come:
            to_come.pop()
            overwrite(service, written_back(service, decided["read"]))
        return outcomes

    ledger.accept_edits = accept_edits
    rest(service)
    assert to_come == []
    assert service.served("c0", File.APPROVED) == decided["ours"]
    assert [one for one in records(path) if one["id"] == "c0"] == [decided["ours"]]


def test_a_rewrite_between_the_look_and_the_reading_does_not_take_back_a_decision_of_which_its_author_has_not_read(
    service: InProcess, decided: dict[str, Any]
) -> None:
    path = path_of(service, File.APPROVED)
    looker: Any = service.mirror._files[File.APPROVED]._looker
    is_growth = looker.is_growth
    to_come = [True]

    def looked_at(*what: Any) -> bool:
        found: bool = is_growth(*what)
        if found and to_come:
            to_come.pop()
            overwrite(service, data)
        return found

    looker.is_growth = looked_at
    data = written_back(service, decided["read"])
    with path.open("ab") as file:
        file.write(b"[1]".ljust(len(data) - path.stat().st_size - 1) + b"\n")
    rest(service)
    assert to_come == []
    assert service.served("c0", File.APPROVED) == decided["ours"]
    assert [one for one in records(path) if one["id"] == "c0"] == [decided["ours"]]


def test_an_undone_example_does_not_come_back_by_a_rewrite_although_it_was_decided_and_undone_again_meanwhile(
    service: InProcess,
) -> None:
    path = path_of(service, File.APPROVED)
    correct(service, "c1")
    correct(service, "c0", "before")
    rest(service)
    read = records(path)
    undo(service, "c0")
    service.come_to_rest()
    (old,) = (one for one in read if one["id"] == "c0")
    old["task_name"] = "edited"
    overwrite(service, b"".join(json.dumps(one).encode() + b"\n" for one in read))
    correct(service, "c0", "again")
    ledger: Any = service.mirror._files[File.APPROVED]._session.ledger
    take_in = ledger.take_in
    to_come = [True]

    def take_in_late(*what: Any, **more: Any) -> Any:
        if to_come and what[2]:
            to_come.pop()
            undo(service, "c0")
        return take_in(*what, **more)

    ledger.take_in = take_in_late
    rest(service)
    assert to_come == []
    assert service.served("c0", File.APPROVED) is None
    assert [one["id"] for one in records(path)] == ["c1"]


def test_a_stale_rewrite_is_none_the_fresher_for_a_later_append_before_the_next_look(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    read = records(path)
    correct(service, "c1")
    service.come_to_rest()
    rewrite(path, [one | {"task_name": "edited"} if one["id"] == "c1" else one for one in read])
    service.wait(70)
    append(path, record("x"))
    rest(service)
    served = service.served("c1")
    assert served is not None and served["corrected_response"] == "better"
    assert list(service.actions("c1")) == ["overrule", "correct"]
