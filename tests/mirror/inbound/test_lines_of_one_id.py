"""Several lines of one approved id in a rewrite by another program: the one that counts is judged, and no other."""

from __future__ import annotations

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess
from tests.mirror.traces import append, correct, path_of, rest, rewrite, service
from tests.support import Json, record, records

__all__ = ["service"]


def approved(id: str, text: str) -> Json:
    return record(id, status="approved", corrected_response=text)


@pytest.fixture
def decided(service: InProcess) -> InProcess:
    """A second line of an approved record stands in front of it, as long as the record itself."""
    correct(service, "c2", "first")
    service.come_to_rest()
    append(path_of(service, File.APPROVED), approved("c3", "of another program"))
    correct(service, "c3", "decided")
    service.come_to_rest()
    service.wait(100)
    return service


def test_of_two_lines_that_were_edited_at_once_the_one_that_counts_is_the_edit(decided: InProcess) -> None:
    path = path_of(decided, File.APPROVED)
    contents = [one | {"task_name": f"edit {number}"} for number, one in enumerate(records(path))]
    before = decided.actions("c3").count("edit")
    rewrite(path, contents)
    rest(decided)
    served = decided.served("c3", File.APPROVED)
    assert [one["id"] for one in contents] == ["c2", "c3", "c3"]
    assert served == contents[2]
    assert decided.actions("c3").count("edit") == before + 1


def test_a_line_that_others_put_in_front_of_an_approved_record_does_not_replace_it(decided: InProcess) -> None:
    path = path_of(decided, File.APPROVED)
    before, served = list(decided.actions("c2")), decided.served("c2", File.APPROVED)
    contents = [approved("c2", "in front"), *records(path)]
    rewrite(path, contents)
    rest(decided)
    assert decided.served("c2", File.APPROVED) == served
    assert list(decided.actions("c2")) == before
    assert records(path) == contents
