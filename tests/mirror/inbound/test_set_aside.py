"""A line on which the service's own code fails is set aside alone: those around it are taken in."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from avocet_grpc.core.errors import StorageFull
from avocet_grpc.core.model import File, ParsedLine
from avocet_grpc.core.record import digest_of
from avocet_grpc.maintenance.verify import verify
from avocet_grpc.mirror.fs.scan import Line
from avocet_grpc.mirror.index_database import IndexDamaged
from avocet_grpc.mirror.set_aside import REASON, SetAside, is_of_a_line, judged
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock
from tests.mirror.traces import append, correct, path_of, rest, rewrite
from tests.support import Json, lines, record, records, write_records

FILES = pytest.mark.parametrize("file", list(File), ids=lambda file: file.name.lower())


def made(id: str, file: File, **more: object) -> Json:
    if file is File.CANDIDATES:
        return record(id, **more)
    return record(id, status="approved", corrected_response="better", **more)


@pytest.fixture
def stumbling(tmp_path: Path) -> Iterator[InProcess]:
    """A service whose ledger fails at every line that has `poison` in it; three records are in each file."""
    for file in File:
        write_records(tmp_path / f"sft_{file.name.lower()}.jsonl", [made(f"{file.name[0]}{n}", file) for n in range(3)])
    service = InProcess(tmp_path, SteppedClock(), CrashingDisk())
    service.fails_at = b"poison"
    service.open()
    service.come_to_rest()
    service.wait(3_600)
    try:
        yield service
    finally:
        if service.running:
            service.crash()


def restarted(service: InProcess, *, fails_at: bytes) -> None:
    assert service.stop()
    service.fails_at = fails_at
    service.open()
    rest(service)


@FILES
def test_lines_around_it_are_taken_in_and_it_stays_in_the_file(stumbling: InProcess, file: File) -> None:
    path = path_of(stumbling, file)
    with path.open("a") as out:
        out.write("".join(json.dumps(made(id, file)) + "\n" for id in ("a", "poison", "b", "poison 2", "c")))
    with capture_logs() as logs:
        rest(stumbling)
    assert [bool(stumbling.served(id, file)) for id in ("a", "poison", "b", "poison 2", "c")] == [1, 0, 1, 0, 1]
    assert [one["id"] for one in records(path)][-5:] == ["a", "poison", "b", "poison 2", "c"]
    assert [one["event"] for one in logs].count("line set aside") == 2
    named = [(one["line"], one["reason"]) for one in logs if one["event"] == "malformed line"]
    assert named == [(number, REASON) for number in (5, 7)]
    assert stumbling.mirror._files[file].report().malformed == 2


@pytest.mark.parametrize("at", range(3))
def test_versions_around_it_all_stay_and_the_last_counts(stumbling: InProcess, at: int) -> None:
    path = path_of(stumbling, File.APPROVED)
    versions = [made("x", File.APPROVED, label="1"), made("x", File.APPROVED, label="2")]
    added = [*versions[:at], made("poison", File.APPROVED), *versions[at:]]
    with path.open("a") as out:
        out.write("".join(json.dumps(one) + "\n" for one in added))
    rest(stumbling)
    assert records(path)[3:] == added
    assert stumbling.served("x", File.APPROVED) == versions[1]


def test_a_start_that_meets_several_keeps_all_versions_around_them(stumbling: InProcess, tmp_path: Path) -> None:
    stumbling.crash()
    other = tmp_path / "other"
    other.mkdir()
    labels = ["1", "2", "poison 1", "3", "poison 2"]
    wanted = [made("a", File.APPROVED, label=label) for label in labels]
    write_records(other / path_of(stumbling, File.APPROVED).name, wanted)
    service = InProcess(other, SteppedClock(), CrashingDisk())
    service.fails_at = b"poison"
    service.open()
    service.come_to_rest()
    assert records(path_of(service, File.APPROVED)) == wanted
    assert service.served("a", File.APPROVED) == wanted[3]
    service.crash()


@FILES
def test_a_decision_behind_it_reaches_the_files(stumbling: InProcess, file: File) -> None:
    append(path_of(stumbling, file), made("poison", file))
    stumbling.round()
    correct(stumbling, "C1")
    stumbling.come_to_rest()
    assert "C1" in [one["id"] for one in records(path_of(stumbling, File.APPROVED))]


@FILES
def test_a_record_that_others_changed_to_one_stays_as_it_was_beside_it(stumbling: InProcess, file: File) -> None:
    path, name = path_of(stumbling, file), file.name[0]
    changed = [made(f"{name}0", file), made(f"{name}1", file, label="poison"), made(f"{name}2", file, label="edit")]
    rewrite(path, changed)
    rest(stumbling)
    found = records(path)
    assert all(one in found for one in changed) and len(found) == 4
    assert stumbling.served(f"{name}1", file) in found
    assert stumbling.served(f"{name}2", file) == changed[2]


@FILES
@pytest.mark.parametrize("is_stopped", [False, True], ids=["running", "stopped"])
def test_a_record_between_others_stays_beside_the_line_that_takes_its_place(
    stumbling: InProcess, file: File, is_stopped: bool
) -> None:
    path, id = path_of(stumbling, file), f"{file.name[0]}1"
    was, found = stumbling.served(id, file), records(path)
    changed = [one | {"label": "poison"} if one["id"] == id else one for one in found]
    if is_stopped:
        assert stumbling.stop()
    rewrite(path, changed)
    if is_stopped:
        stumbling.open()
    rest(stumbling)
    assert was is not None and stumbling.served(id, file) == was
    assert records(path) == [*changed, was]
    stumbling.wait(3_600)
    stumbling.round()
    rewrite(path, [*changed, made("new", file)])
    rest(stumbling)
    assert stumbling.served(id, file) is None, "others may delete it all the same"


@FILES
def test_a_start_that_meets_one_takes_the_others_in(stumbling: InProcess, tmp_path: Path, file: File) -> None:
    stumbling.crash()
    other = tmp_path / "other"
    other.mkdir()
    wanted = [*(made(id, file) for id in ("a", "poison", "b")), made("a", file, label="another")]
    write_records(other / path_of(stumbling, file).name, wanted)
    service = InProcess(other, SteppedClock(), CrashingDisk())
    service.fails_at = b"poison"
    service.open()
    service.come_to_rest()
    assert [bool(service.served(id, file)) for id in ("a", "poison", "b")] == [1, 0, 1]
    assert records(path_of(service, file)) == wanted
    assert service.stop()
    assert sorted(map(str, records(path_of(service, file)))) == sorted(map(str, wanted))


@FILES
def test_such_a_start_keeps_the_order_of_the_file(stumbling: InProcess, tmp_path: Path, file: File) -> None:
    stumbling.crash()
    other = tmp_path / "other"
    other.mkdir()
    path = other / path_of(stumbling, file).name
    ids = ["z", "m", "poison", "a", "k", "b", "poison 2", "y"]
    path.write_text("\n".join(json.dumps(made(id, file)) for id in ids))
    service = InProcess(other, SteppedClock(), CrashingDisk())
    service.fails_at = b"poison"
    service.open()
    rest(service)
    with service.ledger.mirror().view() as view:
        keys = {id: one.key for id, one in view.changed(file, ids).items()}
    assert sorted(keys, key=lambda id: keys[id]) == [id for id in ids if "poison" not in id]
    assert service.stop()
    assert [one["id"] for one in records(path)] == ids


@FILES
def test_the_next_start_tries_it_again(stumbling: InProcess, file: File) -> None:
    path = path_of(stumbling, file)
    for id in ("poison", "b"):
        append(path, made(id, file))
    rest(stumbling)
    restarted(stumbling, fails_at=b"poison")
    assert stumbling.served("poison", file) is None
    assert [one["id"] for one in records(path)][-2:] == ["poison", "b"]
    restarted(stumbling, fails_at=b"nothing")
    assert stumbling.served("poison", file) == made("poison", file) | {"timestamp": records(path)[-2].get("timestamp")}
    assert [one["id"] for one in records(path)][-2:] == ["poison", "b"]
    assert stumbling.mirror._files[file].report().malformed == 0


@FILES
def test_a_deletion_at_which_the_service_fails_is_undone(stumbling: InProcess, file: File) -> None:
    path, name = path_of(stumbling, file), file.name[0]
    stumbling.fails_at = f"{name}1".encode()
    rewrite(path, [made(f"{name}2", file)])
    rest(stumbling)
    assert stumbling.served(f"{name}0", file) is None
    assert sorted(one["id"] for one in records(path)) == [f"{name}1", f"{name}2"]


@FILES
def test_one_that_a_power_cut_took_is_put_back_as_any_malformed_line(stumbling: InProcess, file: File) -> None:
    path = path_of(stumbling, file)
    before = path.read_bytes()
    append(path, made("poison", file))
    rest(stumbling)
    stumbling.crash()
    path.write_bytes(before)
    stumbling.open()
    rest(stumbling)
    assert [one["id"] for one in records(path)][-1] == "poison"


@FILES
def test_a_duplicate_that_should_take_the_place_of_a_deleted_record_is_tried_again(
    stumbling: InProcess, file: File
) -> None:
    path, id = path_of(stumbling, file), f"{file.name[0]}1"
    further = made(id, file, label="poison")
    stumbling.fails_at = b""
    found = records(path)
    rewrite(path, [*found, further] if file is File.CANDIDATES else [further, *found])
    rest(stumbling)
    stumbling.wait(3_600)
    stumbling.round()
    stumbling.fails_at = b"poison"
    left = [one for one in records(path) if one["id"] != id or one == further]
    rewrite(path, left)
    rest(stumbling)
    assert records(path) == left
    assert stumbling.mirror._files[file].report().malformed == 1
    restarted(stumbling, fails_at=b"nothing")
    assert sorted(map(str, records(path))) == sorted(map(str, left))
    assert stumbling.served(id, file) == further


@FILES
def test_a_late_one_stays_behind_the_record_of_its_id(stumbling: InProcess, file: File) -> None:
    path, id = path_of(stumbling, file), f"{file.name[0]}1"
    with path.open("a") as held:
        stumbling.mirror._files[file]._compact()
        rest(stumbling, 2)
        held.write(json.dumps(made(id, file, label="poison")) + "\n")
        held.flush()
        rest(stumbling, 3)
    rest(stumbling, 90)
    was = records(path)
    assert len(was) == 4
    assert was[-1] == made(id, file, label="poison")
    restarted(stumbling, fails_at=b"poison")
    assert records(path) == was
    restarted(stumbling, fails_at=b"nothing")
    assert stumbling.served(id, file) == was[1 if file is File.CANDIDATES else 3]


def test_verify_says_what_will_become_of_it(stumbling: InProcess) -> None:
    append(path_of(stumbling, File.CANDIDATES), made("poison", File.CANDIDATES))
    rest(stumbling)
    assert stumbling.stop()
    report = verify(stumbling.data, lambda *_: None)
    assert not report.damage
    assert [note for note in report.notes if "poison" in note and "new, by others: will be taken in" in note]


def test_a_command_that_fails_without_any_line_tells_nothing_of_lines() -> None:
    def judge(some: object) -> list[int]:
        raise ValueError("whatever it is asked")

    with pytest.raises(ValueError, match="whatever it is asked"):
        judged([1, 2, 3], judge)


def test_each_of_many_is_found_with_few_commands() -> None:
    asked: list[int] = []

    def judge(some: Sequence[int]) -> list[int]:
        asked.append(len(some))
        if any(number in some for number in (17, 900)):
            raise KeyError(some)
        return [-number for number in some]

    found = judged(range(1_000), judge)
    assert [number for number, one in enumerate(found) if isinstance(one, KeyError)] == [17, 900]
    assert [one for one in found if not isinstance(one, KeyError)] == [-n for n in range(1_000) if n not in (17, 900)]
    assert len(asked) < 50


class Unreadable(Line, frozen=True, gc=False):
    """A line at which the parser itself fails."""

    def parsed(self) -> ParsedLine:
        raise RecursionError("too deep")


def test_a_line_at_which_the_parser_fails_is_malformed() -> None:
    raw = b'{"id": "x"}'
    aside = SetAside(File.CANDIDATES)
    for line in (Unreadable(0, len(raw), digest_of(raw), raw), Line(0, len(raw), digest_of(raw), raw)):
        assert aside.parsed(line) == ParsedLine(raw, digest_of(raw), None)
    assert "tried again" in aside.reason(line, raw)


def test_full_disks_and_lost_memory_set_nothing_aside(stumbling: InProcess) -> None:
    stumbling.fails_with = MemoryError
    append(path_of(stumbling, File.CANDIDATES), made("poison", File.CANDIDATES))
    with pytest.raises(MemoryError):
        stumbling.round()
    stumbling.fails_at = b"nothing"
    rest(stumbling)
    assert stumbling.served("poison") is not None
    assert len(lines(path_of(stumbling, File.CANDIDATES))) == 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.CharacterNotInRepertoire("a character that it cannot store"), True),
        (psycopg.errors.ProgramLimitExceeded("an index row that is too large"), True),
        (psycopg.DataError("a text with NUL"), True),
        (psycopg.errors.InsufficientPrivilege("a table"), False),
        (psycopg.errors.UndefinedTable("a table"), False),
        (sqlite3.DataError("string or blob too big"), True),
        (sqlite3.OperationalError("no such table"), False),
        (IndexDamaged("not a database"), False),
        (StorageFull("the disk is full"), False),
        (OSError("read-only"), False),
    ],
    ids=repr,
)
def test_what_a_database_says_of_itself_is_not_of_a_line(error: Exception, expected: bool) -> None:
    assert is_of_a_line(error) is expected
