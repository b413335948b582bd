"""A new line in a half-written file: an edit of a record that is missing, or what another program appended."""

from __future__ import annotations

from pathlib import Path

import pytest

from avocet_grpc.core.model import File
from tests.mirror.in_process import InProcess
from tests.mirror.traces import append, correct, ids, path_of, rest, service, undo, wait
from tests.support import record

__all__ = ["service"]

FILE = File.CANDIDATES


@pytest.fixture
def path(service: InProcess) -> Path:
    """The file, with decisions on `c3` and `c6` that have stood in it for long."""
    correct(service, "c3")
    correct(service, "c6")
    rest(service, 100)
    return path_of(service, FILE)


def reading(path: Path) -> list[bytes]:
    """What a program has read, c3 and c0 to c2 first: not the first lines as they were, which would count as damage."""
    return sorted(path.read_bytes().splitlines(keepends=True), key=lambda line: b'"c3"' not in line)


def edited(line: bytes) -> bytes:
    return line.replace(b"Blue sky", b"Blue sea")


def correction(service: InProcess, id: str) -> object:
    return (service.served(id) or {}).get("corrected_response")


def changes(service: InProcess) -> list[list[str]]:
    return [service.actions(f"c{n}") for n in range(8)]


@pytest.mark.parametrize("is_looked_at", [False, True])
def test_what_others_append_to_a_half_written_file_replaces_no_decision(
    service: InProcess, path: Path, is_looked_at: bool
) -> None:
    read = reading(path)
    with path.open("wb") as file:
        file.writelines(read[:4])
        file.flush()
        wait(service, 7 if is_looked_at else 1)
        append(path, record("c6", status="approved", corrected_response="appended"))
        wait(service, 7)
        assert correction(service, "c6") == "better"
        file.writelines(read[4:])
    rest(service, 30)
    assert correction(service, "c6") == "better" and service.actions("c6") == ["correct"]
    assert ids(path) == [f"c{n}" for n in range(8)]


@pytest.mark.parametrize("is_ours", [False, True])
def test_an_edit_of_what_the_service_wrote_counts_once_the_file_is_closed(
    service: InProcess, path: Path, is_ours: bool
) -> None:
    read = reading(path)
    read[:4] = [*read[1:3], read[0] if is_ours else read[3], read[3] if is_ours else read[0]]
    read[2] = edited(read[2])
    with path.open("wb") as file:
        file.writelines(read[:3])
        file.flush()
        wait(service, 7)
        assert changes(service)[2:4] == ([[], ["correct"]] if is_ours else [["edit"], ["correct"]])
        file.writelines(read[3:])
    wait(service, 2)
    assert changes(service)[2:4] == ([[], ["edit", "correct"]] if is_ours else [["edit"], ["correct"]])
    rest(service, 30)
    assert path.read_bytes().splitlines(keepends=True) == read


@pytest.mark.parametrize("stays", [False, True])
def test_an_edit_counts_if_the_program_leaves_the_rest_out(service: InProcess, path: Path, stays: bool) -> None:
    read = reading(path)
    read[0] = edited(read[0])
    with path.open("wb") as file:
        file.writelines(read[:1])
        file.flush()
        wait(service, 75 if stays else 7)
    wait(service, 1)
    assert service.actions("c3") == ["edit", "correct"]
    rest(service, 30)
    assert path.read_bytes() == read[0]
    assert [one[0] for one in changes(service)] == ["edit" if n == 3 else "remove" for n in range(8)]


def test_a_decision_on_what_may_be_edited_counts_and_the_other_line_stays(service: InProcess, path: Path) -> None:
    read = reading(path)
    read[0] = edited(read[0])
    with path.open("wb") as file:
        file.writelines(read[:1])
        file.flush()
        wait(service, 7)
        undo(service, "c3")
        correct(service, "c3", "better still")
        file.writelines(read[1:])
    rest(service, 100)
    assert correction(service, "c3") == "better still"
    assert ids(path) == sorted([*(f"c{n}" for n in range(8)), "c3"])


def test_an_edit_of_the_last_line_counts_at_once_beside_a_program_that_only_appends(
    service: InProcess, path: Path
) -> None:
    data = path.read_bytes()
    assert b'"c6"' in data.splitlines()[-1]
    with path.open("ab"), path.open("r+b") as file:
        file.seek(data.rindex(b"Blue sky"))
        file.write(b"Blue sea")
        file.flush()
        wait(service, 7)
        assert service.actions("c6") == ["edit", "correct"]
