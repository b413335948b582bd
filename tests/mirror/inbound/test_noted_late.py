"""A deletion that the ledger has, and that a kill kept out of the index."""

from __future__ import annotations

import pytest

from avocet_grpc.core.model import File, Source
from avocet_grpc.core.ports.mirror import Changed
from avocet_grpc.mirror.inbound.verdicts import Verdicts
from avocet_grpc.mirror.lines import Kind, Lines, Mark, Order, Row
from avocet_grpc.mirror.outbound.outbox import plan
from tests.mirror.in_process import Crash, InProcess
from tests.mirror.traces import append, ids, path_of, rest, rewrite, service
from tests.support import record, records

__all__ = ["service"]


def test_a_duplicate_that_was_deleted_with_its_record_does_not_come_back(
    service: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(service, File.APPROVED)
    append(path, record("y", status="approved", corrected_response="y"))
    rest(service)
    read = records(path)
    for text in ("x", " "):
        append(path, record("x", status="approved", corrected_response=text))
        rest(service)
    assert ids(path) == ["x", "x", "y"]
    # Not the last lines alone, which would count as damage.
    rewrite(path, [record("z", status="approved", corrected_response="z"), *read])
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Verdicts, "deleted", killed)
        rest(service, 30)
    service.crash()
    assert service.served("x", File.APPROVED) is None
    service.open()
    rest(service)
    assert ids(path) == ["y", "z"] and service.actions("x") == ["remove", "add"]
    assert service.stop()


def killed(*_: object) -> None:
    raise Crash


def test_a_duplicate_that_is_owed_is_written_although_others_deleted_its_record() -> None:
    """Or the file would never be level."""
    row = Row(Kind.DUPLICATE, "x", b"c" * 16, b"d" * 16, None, 9, Order(3), 8, mark=Mark.OWED, key=5)
    deleted = Changed("x", 3, 7, Source.EXTERNAL, None, None, 7)
    unit = plan(Lines(File.APPROVED, [row]), "x", deleted, lambda row: b'{"id":"x"}', 0.0, False)
    assert [write.raw for write in unit.writes] == [b'{"id":"x"}'] and unit.settles
