"""A file of which a program has written a part: what stands there says little of what does not stand there yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from avocet_grpc.core.model import File
from avocet_grpc.mirror.fs.disk import Lease
from avocet_grpc.mirror.lines import Kind
from tests.mirror.in_process import CrashingDisk, InProcess, SteppedClock, opened
from tests.mirror.traces import append, correct, ids, path_of, rest, rewrite, service, undo, wait
from tests.support import Json, record, records, write_records

__all__ = ["service"]


def lines_of(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.strip()]


@pytest.fixture
def two(service: InProcess) -> tuple[Path, list[bytes]]:
    """Approved lines, two of one id among them: the last one counts, and another record stands behind it."""
    path = path_of(service, File.APPROVED)
    for id, text in (("y", "other"), ("x", "first"), ("x", "last"), ("z", "other")):
        append(path, record(id, status="approved", corrected_response=text))
        rest(service)
    service.wait(100)
    return path, lines_of(path)


def correction(service: InProcess) -> str:
    served = service.served("x", File.APPROVED)
    assert served is not None
    return str(served["corrected_response"])


def test_an_edit_of_a_second_line_is_none_of_the_record_that_is_not_written_yet(
    service: InProcess, two: tuple[Path, list[bytes]]
) -> None:
    path, read = two
    read[1] = read[1].replace(b"first", b"edited")
    with path.open("wb") as file:
        file.writelines(read[:2])
        file.flush()
        wait(service, 7)
        assert correction(service) == "last"
        file.writelines(read[2:])
    rest(service, 30)
    assert correction(service) == "last" and service.actions("x") == ["edit", "add"]
    assert [one["corrected_response"] for one in records(path) if one["id"] == "x"] == ["edited", "last"]


def test_an_edit_of_a_second_line_is_none_of_a_record_that_has_been_missing_for_longer(
    service: InProcess, two: tuple[Path, list[bytes]]
) -> None:
    path, read = two
    # Not the first line alone as it was, which would count as damage; and no growth, which would be read as such.
    first = [read[0].replace(b"other", text) for text in (b"edit1", b"edit2")]
    edited = read[1].replace(b"first", b"edited")
    with path.open("wb") as file:
        for lines in ([first[0]], [first[1], edited]):
            file.seek(0)
            file.writelines(lines)
            file.flush()
            wait(service, 7)
            assert correction(service) == "last"
        file.writelines(read[2:])
    rest(service, 30)
    assert service.actions("x") == ["edit", "add"]


def test_a_record_is_edited_by_a_program_that_has_come_further_and_took_its_second_line_out(
    service: InProcess, two: tuple[Path, list[bytes]]
) -> None:
    path, read = two
    del read[1]
    read[1] = read[1].replace(b"last", b"edited")
    with path.open("wb") as file:
        file.writelines(read)
        file.flush()
        wait(service, 7)
        assert correction(service) == "edited"


@pytest.fixture
def without_c5(service: InProcess) -> tuple[Path, list[bytes]]:
    """The candidates file, from which a program has just deleted a record, and its lines."""
    path = path_of(service, File.CANDIDATES)
    left = [line for line in lines_of(path) if b'"c5"' not in line]
    path.with_name("draft").write_bytes(b"".join(left))
    path.with_name("draft").replace(path)
    return path, left


def before_the_comparison(service: InProcess, other: Callable[[], None]) -> None:
    """Let another program act between the look that decides about the deletion and the comparison."""
    looker: Any = service.mirror._files[File.CANDIDATES]._looker
    compare, to_come = looker._compare, [True]

    def compare_later(*what: Any, **more: Any) -> Any:
        if more.get("judged") and to_come:
            to_come.pop()
            other()
        return compare(*what, **more)

    looker._compare = compare_later
    wait(service, 12)
    assert to_come == []


def test_a_rewrite_that_begins_after_the_look_deletes_nothing(
    service: InProcess, without_c5: tuple[Path, list[bytes]]
) -> None:
    path, left = without_c5
    begun: list[Any] = []

    def begin() -> None:
        begun.append(path.open("wb"))
        begun[0].writelines(left[:3])
        begun[0].flush()

    before_the_comparison(service, begin)
    begun[0].writelines(left[3:])
    begun[0].close()
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(8) if n != 5]
    assert [service.actions(f"c{n}") for n in range(8)] == [["remove"] if n == 5 else [] for n in range(8)]


def test_a_line_that_is_appended_after_the_look_puts_no_deletion_off(
    service: InProcess, without_c5: tuple[Path, list[bytes]]
) -> None:
    path, _ = without_c5
    before_the_comparison(service, lambda: append(path, record("x")))
    assert service.served("c5") is None


def test_our_line_as_it_was_spelled_before_is_a_copy_if_the_rest_of_a_rewrite_brings_it(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    correct(service, "c1")
    service.come_to_rest()
    read = lines_of(path)
    respelled = [line.replace(b"{", b"{   ", 1) if b'"c1"' in line else line for line in read]
    path.with_name("draft").write_bytes(b"".join(respelled))
    path.with_name("draft").replace(path)
    service.come_to_rest()
    path.write_bytes(b"".join(read[:4]))
    wait(service, 2)
    with path.open("ab") as file:
        file.writelines(read[4:])
    rest(service, 30)
    undo(service, "c1")
    rest(service)
    assert [one["status"] for one in records(path) if one["id"] == "c1"] == ["needs_review"]


class Meanwhile(CrashingDisk):
    """Another program does something just before the mirror makes a file."""

    other: Callable[[], None] | None = None

    def create(self, path: Path) -> int:
        other, self.other = self.other, None
        if other is not None:
            other()
        return super().create(path)


def write_on(file: IO[bytes], lines: list[bytes]) -> None:
    file.writelines(lines)
    file.flush()


def test_an_undone_record_does_not_come_back_by_the_rest_of_a_rewrite_that_goes_into_our_copy(tmp_path: Path) -> None:
    """We have put back what the first part lacks, so that nothing is missing any more."""
    disk = Meanwhile()
    write_records(tmp_path / "sft_candidates.jsonl", [record(f"c{n}") for n in range(4)])
    with opened(tmp_path, SteppedClock(), disk) as made:
        for n in range(4):
            correct(made, f"c{n}")
        rest(made)
        made.wait(100)
        path = path_of(made, File.APPROVED)
        read = [_edited(one) if one["id"] == "c3" else one for one in records(path)]
        written = [json.dumps(one).encode() + b"\n" for one in read]
        with path.open("wb") as file:
            file.write(written[0])
            file.flush()
            wait(made, 4)
            undo(made, "c3")
            disk.other = partial(write_on, file, written[1:])
            wait(made, 4)
            assert disk.other is None
        rest(made, 30)
        assert made.served("c3", File.APPROVED) is None
        assert [one["id"] for one in records(path)] == ["c0", "c1", "c2"]


def test_what_others_wrote_is_there_once_if_the_rest_of_a_rewrite_goes_into_our_copy(tmp_path: Path) -> None:
    """The first line alone counts as damage: we put the others back, just as the program writes them."""
    disk, path = Meanwhile(), tmp_path / "sft_approved.jsonl"
    write_records(path, [record(id, status="approved", corrected_response=id) for id in ("x", "y", "z")])
    with opened(tmp_path, SteppedClock(), disk) as made:
        rest(made, 100)
        read = lines_of(path)
        with path.open("wb") as file:
            file.write(read[0])
            file.flush()
            disk.other = partial(write_on, file, read[1:])
            wait(made, 10)
            assert disk.other is None
        rest(made, 30)
        assert sorted(lines_of(path)) == read


def test_an_undone_record_does_not_come_back_by_the_rest_of_a_rewrite_of_a_file_that_was_replaced(
    service: InProcess,
) -> None:
    for n in range(4):
        correct(service, f"c{n}")
    rest(service, 100)
    path = path_of(service, File.APPROVED)
    read = [_edited(one) if one["id"] == "c3" else one for one in records(path)]
    # Not the first lines as they were, which would count as damage.
    read[:2] = read[1::-1]
    written = [json.dumps(one).encode() + b"\n" for one in read]
    with path.open("wb") as file:
        file.writelines(written[:2])
        file.flush()
        wait(service, 7)
        undo(service, "c3")
        undo(service, "c1")
        wait(service, 2)
        assert list(path.parent.glob(".*approved*.displaced")), "it was not replaced"
        file.writelines(written[2:])
    rest(service, 100)
    assert service.served("c3", File.APPROVED) is None
    assert ids(path) == ["c0", "c2"]


def test_who_has_a_file_open_for_long_is_heard_at_once_after_it_was_compared_and_replaced(service: InProcess) -> None:
    """It might be half-way through the file; what it appends is a line all the same."""
    path = path_of(service, File.APPROVED)
    for n in range(2):
        correct(service, f"c{n}")
    rest(service, 100)
    with path.open("ab") as file:
        path.touch()
        wait(service, 7)
        undo(service, "c1")
        wait(service, 2)
        assert list(path.parent.glob(".*approved*.displaced")), "it was not replaced"
        file.write(json.dumps(record("x", status="approved", corrected_response="x")).encode() + b"\n")
        file.flush()
        wait(service, 2)
        assert service.served("x", File.APPROVED) is not None


def test_a_line_that_others_append_is_no_edit_of_a_record_that_a_displaced_file_has_not_got_yet(
    service: InProcess,
) -> None:
    for n in range(4):
        correct(service, f"c{n}")
    rest(service, 100)
    path = path_of(service, File.APPROVED)
    read = lines_of(path)
    read[:2] = read[1::-1]
    with path.open("wb") as file:
        file.writelines(read[:2])
        file.flush()
        wait(service, 7)
        undo(service, "c1")
        wait(service, 2)
        assert list(path.parent.glob(".*approved*.displaced")), "it was not replaced"
        append(path, record("c3", status="approved", corrected_response=" "))
        wait(service, 2)
        file.writelines(read[2:])
    rest(service, 100)
    served = service.served("c3", File.APPROVED)
    assert served is not None and served["corrected_response"] == "better"
    assert service.actions("c3") == ["correct"] and ids(path) == ["c0", "c2", "c3", "c3"]


def test_the_line_that_counts_is_the_edit_if_another_one_was_appended_before_it_came(service: InProcess) -> None:
    path = path_of(service, File.APPROVED)
    correct(service, "c0")
    rest(service, 100)
    appended = record("c0", status="approved", corrected_response=" ")
    rewrite(path, [appended, *[one | {"corrected_response": "edited"} for one in records(path)]])
    rest(service)
    changes = service.actions("c0")
    assert [one["corrected_response"] for one in records(path)] == [" ", "edited"] and changes == ["edit", "correct"]


def _edited(one: Json) -> Json:
    return {"id": one["id"], "status": "approved", "corrected_response": "edited"}


def test_a_record_that_is_gone_stands_where_a_line_with_its_bytes_does_that_was_to_be_blanked(
    service: InProcess,
) -> None:
    path, index = path_of(service, File.CANDIDATES), service.mirror._index
    assert index is not None
    read = lines_of(path)
    (row,) = index.lines(File.CANDIDATES, ["c5"]).of("c5")
    index.insert(File.CANDIDATES, row.changed(kind=Kind.STALE, offset=0, key=0), None)
    path.with_name("draft").write_bytes(b"".join(read[1:]))
    path.with_name("draft").replace(path)
    rest(service, 30)
    assert ids(path) == [f"c{n}" for n in range(1, 8)]
    assert [service.actions(f"c{n}") for n in range(8)] == [["remove"], *[[]] * 7]


class BegunAtStart(CrashingDisk):
    """A program begins to write the file just after the mirror has asked whether one does; it needs `path`."""

    path: Path | None = None
    file: Any = None
    is_asked = False

    def read_lease(self, descriptor: int) -> Lease:
        self.is_asked = self.path is not None
        return super().read_lease(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        if self.is_asked and self.path is not None and self.file is None:
            self.file = self.path.open("wb")


@pytest.mark.parametrize("seconds", [0, 3])
def test_a_rewrite_that_begins_while_a_start_compares_deletes_nothing(tmp_path: Path, seconds: int) -> None:
    disk, path = BegunAtStart(), tmp_path / "sft_candidates.jsonl"
    write_records(path, [record(f"c{n}") for n in range(8)])
    with opened(tmp_path, SteppedClock(), disk) as made:
        assert made.stop()
        append(path, record("x"))
        read = lines_of(path)
        made.wait(100)
        disk.path = path
        made.open()
        wait(made, seconds)
        disk.file.writelines(read)
        disk.file.close()
        rest(made, 30)
        assert ids(path) == [*(f"c{n}" for n in range(8)), "x"]
        assert [made.actions(f"c{n}") for n in range(8)] == [[]] * 8


def test_an_edit_in_the_rest_of_a_rewrite_is_an_edit(service: InProcess) -> None:
    path = path_of(service, File.CANDIDATES)
    read = lines_of(path)
    # Not the first lines as they were, which would count as damage.
    read.insert(0, read.pop())
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, 7)
        file.writelines(line.replace(b"Blue sky", b"Blue sea") if b'"c5"' in line else line for line in read[4:])
    rest(service, 30)
    assert [service.actions(f"c{n}") for n in range(8)] == [["edit"] if n == 5 else [] for n in range(8)]
    assert ids(path) == [f"c{n}" for n in range(8)]
