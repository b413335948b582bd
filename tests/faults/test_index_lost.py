"""The mirror's index lost, spoilt or of another time: nothing is lost, nothing is there twice, nothing is deleted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import answers, check, files_agree, listings
from tests.faults.load import Caller, Load, candidates
from tests.support import Server, eventually, lines, record, write_records

MALFORMED = b'{"id": "torn'


def databases(server: Server, name: str) -> list[Path]:
    """The files of a database below the private directory."""
    return sorted((server.data / ".avocet").glob(f"{name}*"))


def keep(server: Server, name: str, place: Path) -> None:
    """Copy a database of a server that is not running."""
    place.mkdir()
    for path in databases(server, name):
        shutil.copy2(path, place)


def put_back(server: Server, name: str, place: Path) -> None:
    """Put the copy in the place of what is there now."""
    for path in databases(server, name):
        path.unlink()
    for path in place.iterdir():
        shutil.copy2(path, server.data / ".avocet")


def delete(server: Server, older: Path, other: Path) -> None:
    for path in databases(server, "mirror.db"):
        path.unlink()


def truncate(server: Server, older: Path, other: Path) -> None:
    path = server.data / ".avocet" / "mirror.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_nonsense(server: Server, older: Path, other: Path) -> None:
    (server.data / ".avocet" / "mirror.db").write_bytes(b"no index at all " * 4_096)


def take_an_older_one(server: Server, older: Path, other: Path) -> None:
    put_back(server, "mirror.db", older)


def take_one_of_another_directory(server: Server, older: Path, other: Path) -> None:
    put_back(server, "mirror.db", other)


@pytest.fixture
def worked(victim: Server, acks: Acks, tmp_path: Path) -> Server:
    """A running server that has worked, with a malformed line and a second line of an id by others."""
    write_records(victim.candidates, made := candidates(200))
    acks.add(made)
    victim.start()
    with Load(acks, victim.address) as load:
        load.wait_for(60)
    second = json.dumps(record("c00000", task_name="a second line")).encode()
    with victim.candidates.open("ab") as file:
        file.write(MALFORMED + b"\n" + second + b"\n")
    acks.keep_line("candidates", MALFORMED)
    acks.keep_line("candidates", second)
    eventually(lambda: (victim.stats().malformed, victim.stats().duplicate_ids) == (1, 1))
    assert victim.stop() == 0
    keep(victim, "mirror.db", tmp_path / "older")
    keep(victim, "ledger.db", tmp_path / "older-ledger")
    victim.start()
    return victim


def work(server: Server, acks: Acks) -> None:
    with Load(acks, server.address) as load:
        load.wait_for(60)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The index of another directory."""
    server = Server(tmp_path / "another")
    write_records(server.candidates, candidates(50, prefix="other"))
    server.start()
    assert server.stop() == 0
    keep(server, "mirror.db", tmp_path / "other")
    return tmp_path / "other"


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize(
    "spoil", [delete, truncate, fill_with_nonsense, take_an_older_one, take_one_of_another_directory]
)
def test_a_start_without_a_sound_index_loses_doubles_and_deletes_nothing(
    worked: Server,
    acks: Acks,
    tmp_path: Path,
    other: Path,
    end: str,
    spoil: Callable[[Server, Path, Path], None],
) -> None:
    work(worked, acks)
    if end == "stop":
        assert worked.stop() == 0
    else:
        worked.kill()
    spoil(worked, tmp_path / "older", other)
    check(acks, worked.start(), asked=1_000)
    eventually(lambda: (worked.stats().malformed, worked.stats().duplicate_ids) == (1, 1))
    work(worked, acks)
    check(acks, worked, asked=1_000)
    assert worked.stop() == 0
    files_agree(acks, worked.data, within=0)
    before = worked.candidates.read_bytes(), worked.approved.read_bytes()
    assert worked.start().stop() == 0
    assert (worked.candidates.read_bytes(), worked.approved.read_bytes()) == before


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_ledger_older_than_the_index_is_told_apart_and_takes_from_the_files_what_it_lacks(
    worked: Server, acks: Acks, tmp_path: Path, end: str
) -> None:
    decide_and_ingest(worked, acks)
    revision = worked.stats().revision
    files_agree(acks, worked.data)
    if end == "stop":
        assert worked.stop() == 0
    else:
        worked.kill()
    put_back(worked, "ledger.db", tmp_path / "older-ledger")
    count = len(lines(worked.candidates))
    worked.start()
    warnings = [json.loads(line) for line in worked.log.splitlines() if '"level": "warning"' in line]
    assert any("restored" in one["event"] or "older" in one["event"] for one in warnings), warnings
    acks.forget_the_past()
    still_served(worked, acks)
    assert len(lines(worked.candidates)) == count
    assert worked.stats().revision > revision
    decide_and_ingest(worked, acks)
    still_served(worked, acks)
    assert worked.stop() == 0
    files_agree(acks, worked.data, within=0)


def still_served(server: Server, acks: Acks) -> None:
    """As `check`, but for the history, of which the older ledger has a part."""
    wrong = [*answers(acks.known.values(), server), *listings(acks, server)]
    assert wrong == []
    files_agree(acks, server.data)


def decide_and_ingest(server: Server, acks: Acks) -> None:
    """No undo: its content is that of a version which the older ledger knows, and so a stale line there."""
    caller = Caller(acks, server.address)
    assert all(caller.submit("correct") and caller.ingest() for _ in range(20))
