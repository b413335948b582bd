"""Other programs share the two files: they read without a lock, append, and must never notice."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections import Counter

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.support import rounds
from tests.support import Json, Server, eventually, lines, record, records, write_records

COUNT = 1_500
DECISIONS = rounds(200, 200)
"""At most COUNT."""
PADDING = "x" * 1_500
PIECE = 1 << 16


@pytest.fixture
def megabytes(stopped_server: Server) -> Server:
    """A running server with a candidates file of some 3 MB."""
    write_records(stopped_server.candidates, [record(f"c{n:04d}", model_response=PADDING) for n in range(COUNT)])
    return stopped_server.start()


class PlainReader(threading.Thread):
    """Reads the candidates file in a loop; keeps what was wrong, and how often it looked."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.path = server.candidates
        self.wanted = {f"c{n:04d}" for n in range(COUNT)}
        self.wrong: list[str] = []
        self.looks = 0
        self._known: dict[str, str] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.is_set():
            text = self._read().decode()
            self.looks += 1
            ids: Counter[str] = Counter()
            *whole, last = text.split("\n")
            for line in whole:
                try:
                    if line.strip():
                        ids[self._id_of(line)] += 1
                except ValueError:
                    self.wrong.append(f"unparsable: {line[:80]!r}")
            # The write of another program is not atomic to a reader, and not ours to guard.
            if last.strip() and not last.startswith('{"id": "foreign-'[: len(last)]):
                self.wrong.append(f"torn end: {last[:80]!r}")
            self.wrong += [f"missing: {id}" for id in self.wanted - ids.keys()]
            self.wrong += [f"twice: {id}" for id, times in ids.items() if times > 1]

    def _read(self) -> bytes:
        """As some programs read, at once, and every fourth time as others do, a piece after the other."""
        with self.path.open("rb", buffering=0) as file:
            if self.looks % 4:
                return file.read()
            return b"".join(iter(lambda: file.read(PIECE), b""))

    def _id_of(self, line: str) -> str:
        """A line is parsed once: what counts is how often the file is read. Raises ValueError."""
        id = self._known.get(line)
        if id is None:
            id = self._known[line] = json.loads(line)["id"]
        return id


def append(server: Server, id: str) -> None:
    """Add a line as other programs do: open, one write, close."""
    with server.candidates.open("ab", buffering=0) as file:
        file.write(json.dumps(record(id, source="dashboard")).encode() + b"\n")


def decide(server: Server, number: int) -> None:
    """One of all kinds of decisions on the number-th candidate."""
    id = f"c{number * 7 % COUNT:04d}"
    if number % 3 == 0:
        server.correct(id, f"better {number}")
    else:
        server.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_DISCARD if number % 3 == 1 else pb.ACTION_FLAG))
    if number % 10 == 0:
        server.stub.Undo(pb.UndoRequest(id=id))


@pytest.mark.timeout(120 + DECISIONS)
def test_a_plain_reader_beside_decisions_and_foreign_appends_sees_whole_records_once(megabytes: Server) -> None:
    readers = [PlainReader(megabytes) for _ in range(2)]
    for reader in readers:
        reader.start()
    foreign = []
    for number in range(DECISIONS):
        decide(megabytes, number)
        if number % 5 == 0:
            foreign.append(f"foreign-{number}")
            append(megabytes, foreign[-1])
        if any(reader.wrong for reader in readers):
            break
    try:
        eventually(lambda: statuses(megabytes) == counted(megabytes))
    finally:
        # What the readers saw says more than a file that is not level.
        for reader in readers:
            reader.done.set()
        for reader in readers:
            reader.join(timeout=60)
            assert reader.looks > 5
            assert reader.wrong == []
    assert set(foreign) <= {r["id"] for r in records(megabytes.candidates)}
    assert megabytes.stats().total == COUNT + len(foreign)
    assert {r["id"] for r in records(megabytes.approved)} == {
        f"c{n * 7 % COUNT:04d}" for n in range(0, DECISIONS, 3) if n % 10
    }


def statuses(server: Server) -> Counter[str]:
    """The statuses as a plain reader counts them."""
    return Counter(r["status"] for r in records(server.candidates))


def counted(server: Server) -> Counter[str]:
    """The statuses as the service counts them."""
    return Counter(dict(server.stats().by_status))


def test_a_line_that_another_program_appends_is_served_soon(megabytes: Server) -> None:
    append(megabytes, "new")
    eventually(lambda: megabytes.stats().total == COUNT + 1)
    assert megabytes.stub.GetCandidate(pb.GetCandidateRequest(id="new")).candidate.source == "dashboard"
    megabytes.correct("new")
    eventually(lambda: [r["id"] for r in records(megabytes.approved)] == ["new"])


def test_an_edit_by_a_whole_rewrite_is_served_and_no_acknowledged_change_is_lost(megabytes: Server) -> None:
    megabytes.correct("c0001")
    eventually(lambda: b'"approved"' in megabytes.candidates.read_bytes())
    contents = records(megabytes.candidates)
    for content in contents:
        if content["id"] == "c0002":
            content["task_name"] = "edited"
    megabytes.correct("c0003")
    temporary = megabytes.candidates.with_suffix(".tmp")
    write_records(temporary, contents)
    temporary.replace(megabytes.candidates)

    def served() -> str:
        return megabytes.stub.GetCandidate(pb.GetCandidateRequest(id="c0002")).candidate.task_name

    eventually(lambda: served() == "edited")
    for id in ("c0001", "c0003"):
        candidate = megabytes.stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate
        assert candidate.status == pb.CANDIDATE_STATUS_APPROVED
    eventually(lambda: statuses(megabytes) == {"approved": 2, "needs_review": COUNT - 2})


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_damaged_file_is_put_back_and_nothing_is_deleted(megabytes: Server, damage: str) -> None:
    megabytes.correct("c0001")
    eventually(lambda: statuses(megabytes)["approved"] == 1)
    content = megabytes.candidates.read_bytes()
    if damage == "missing":
        megabytes.candidates.unlink()
    elif damage == "empty":
        megabytes.candidates.write_bytes(b"")
    else:
        megabytes.candidates.write_bytes(content[: len(content) // 2])
    wanted = {f"c{n:04d}" for n in range(COUNT)}
    # A file that ends inside a line may be one that is still being written, for up to 5 s; the torn line stays.
    eventually(lambda: {one["id"] for one in readable(megabytes)} == wanted)
    assert len(readable(megabytes)) == COUNT
    stats = megabytes.stats()
    assert (stats.total, stats.malformed) == (COUNT, 1 if damage == "cut" else 0)
    assert stats.by_status == {"approved": 1, "needs_review": COUNT - 1}


def readable(server: Server) -> list[Json]:
    """The records of the candidates file, without the lines that are none."""
    found = []
    for line in lines(server.candidates):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def test_after_a_stop_the_two_files_alone_are_the_truth(megabytes: Server) -> None:
    for number in range(20):
        decide(megabytes, number)
    append(megabytes, "foreign")
    eventually(lambda: megabytes.stats().total == COUNT + 1)
    before = megabytes.stats()
    assert megabytes.stop() == 0
    assert len(records(megabytes.candidates)) == COUNT + 1
    shutil.rmtree(megabytes.data / ".avocet")
    bytes_before = lines(megabytes.candidates), lines(megabytes.approved)
    after = megabytes.start().stats()
    assert after.revision > before.revision
    after.revision = before.revision
    assert after == before
    assert (lines(megabytes.candidates), lines(megabytes.approved)) == bytes_before


def test_edits_and_deletions_made_while_it_was_stopped_are_accepted(megabytes: Server) -> None:
    megabytes.correct("c0001")
    assert megabytes.stop() == 0
    contents = [content for content in records(megabytes.candidates) if content["id"] != "c0005"]
    contents[0]["task_name"] = "edited"
    write_records(megabytes.candidates, contents)
    megabytes.start()
    assert megabytes.stats().total == COUNT - 1
    assert megabytes.stub.GetCandidate(pb.GetCandidateRequest(id=contents[0]["id"])).candidate.task_name == "edited"
