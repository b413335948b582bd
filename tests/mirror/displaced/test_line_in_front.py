"""A program writes several lines of one id to a displaced file. The service has changed the id's record meanwhile."""

from __future__ import annotations

import json

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess
from tests.mirror.traces import append, correct, path_of, rest, rewrite, service, undo
from tests.support import record, records

__all__ = ["service"]


@pytest.mark.parametrize("new", [[], ["new"]], ids=["as it was", "with a new line in front"])
def test_a_line_in_front_of_ours_in_a_displaced_file_takes_the_place_of_no_decision(
    service: InProcess, new: list[str]
) -> None:
    path = path_of(service, File.APPROVED)
    other_line = record("c0", status="approved", corrected_response="other")
    correct(service, "c1")
    service.come_to_rest()
    correct(service, "c0", "ours")
    append(path, other_line)
    rest(service)
    ours = service.served("c0", File.APPROVED)
    assert ours is not None and records(path)[1:] == [other_line, ours]
    with path.open("r+b") as holder:
        data = holder.read()
        undo(service, "c1")
        rest(service)
        assert list(path.parent.glob(".*approved*.displaced")), "it was not replaced"
        rewrite(path, [one | {"corrected_response": "edited"} if one == other_line else one for one in records(path)])
        rest(service, 100)
        lines = [json.dumps(record("c0", status="approved", corrected_response=text)) + "\n" for text in new]
        holder.seek(0)
        holder.write("".join(lines).encode() + data)
        holder.flush()
        rest(service, 20)
    rest(service, 100)
    assert not list(path.parent.glob(".*approved*.displaced"))
    assert service.served("c0", File.APPROVED) == ours
    of_c0 = [one["corrected_response"] for one in records(path) if one["id"] == "c0"]
    assert of_c0[-1] == "ours" and set(of_c0) >= {"edited", *new}


def test_an_old_further_line_in_a_displaced_file_takes_the_place_of_no_decision(service: InProcess) -> None:
    """The service had taken out both lines and the record with an undo; their author has not read the new decision."""
    path = path_of(service, File.APPROVED)
    correct(service, "c0", "first")
    rest(service)
    further = [record("c0", status="approved", corrected_response=text) for text in ("one", "two")]
    rewrite(path, [*further, *records(path)])
    rest(service, 100)
    with path.open("r+b") as holder:
        undo(service, "c0")
        rest(service)
        assert list(path.parent.glob(".*approved*.displaced")), "it was not replaced"
        correct(service, "c0", "second")
        rest(service)
        holder.write("".join(json.dumps(one) + "\n" for one in further).encode())
        holder.truncate()
        holder.flush()
        rest(service, 20)
    rest(service, 100)
    served = service.served("c0", File.APPROVED)
    assert served is not None and served["corrected_response"] == "second"
