"""What the tests of single traces share: short decisions, other programs' writes, and waiting."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from avocet_grpc.core import review
from avocet_grpc.core.model import Action, Decision, ExportSelection, File, UndoRequest
from avocet_grpc.core.ports.mirror import FeedExpired
from tests.exports import exports
from tests.mirror.in_process import InProcess, opened
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


def line_of(id: str, **more: Any) -> bytes:
    """A candidate as a line, without its newline."""
    return json.dumps(record(id, **more)).encode()


def approved_line(id: str, text: str, spaces: int = 1) -> bytes:
    """An approved record as a line, in the spelling with so many spaces in one place."""
    what = id.encode(), b" " * spaces, text.encode()
    return b'{"id": "%s",%s"status": "approved", "corrected_response": "%s"}' % what


def put_behind(path: Path, data: bytes) -> None:
    """Another program appends these bytes."""
    with path.open("ab") as file:
        file.write(data)


def standing(path: Path) -> list[bytes]:
    """The lines of a file, blank ones left out."""
    return [line for line in path.read_bytes().split(b"\n") if line.strip()]


def ids(path: Path) -> list[str]:
    return sorted(one["id"] for one in records(path))


def wait(service: InProcess, seconds: int) -> None:
    """The mirror looks at the files once a second meanwhile."""
    for _ in range(seconds):
        service.wait(1)
        service.round()


def rest(service: InProcess, seconds: float = 15) -> None:
    """Long enough for a missing line to count as deleted."""
    wait(service, int(seconds))
    service.come_to_rest()


def exported(service: InProcess) -> dict[str, str]:
    revision = service.ask(lambda reader: reader.revision())
    batch = service.ask(lambda reader: exports(reader).export_batch(ExportSelection(revision), 0, 100, 1 << 20))
    return dict.fromkeys(batch.ids.decode().split(), "") if batch else {}


def expire_feed(service: InProcess, file: File, times: int) -> list[bool]:
    """The next so many looks at the file's change feed find that it no longer reaches back; return those to come."""
    to_come = [True] * times
    ledger: Any = service.mirror._files[file]._session.ledger
    view_of = ledger._ledger.view

    class Expired:
        def __init__(self, view: Any) -> None:
            self._view = view

        def __getattr__(self, name: str) -> Any:
            return getattr(self._view, name)

        def changes(self, of: File, *what: Any) -> Any:
            if to_come and of is file:
                to_come.pop()
                raise FeedExpired
            return self._view.changes(of, *what)

    @contextmanager
    def view() -> Iterator[Any]:
        with view_of() as one:
            yield Expired(one)

    ledger._ledger.view = view
    return to_come
