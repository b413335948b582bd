"""Whatever stands under a file's name - another inode, nothing, a link, what is unreadable - loses no record."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, get
from tests.faults.load import Caller, Load, candidates
from tests.faults.support import need, whole_only
from tests.support import Json, Server, eventually, record, write_records

COUNT = 60
LATE = record("late", task_name="by another hand")


@pytest.fixture
def files(victim: Server, acks: Acks) -> Server:
    """A server, not started, with a candidates file."""
    write_records(victim.candidates, made := candidates(COUNT))
    acks.add(made)
    return victim


def contents(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()]


def append(path: Path, record: Json) -> None:
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def test_an_atomic_replace_by_another_program_is_imported_beside_our_decisions(files: Server, acks: Acks) -> None:
    server = files.start()
    draft = server.data / "draft"
    with Load(acks, server.address, threads=2, pause_s=0.02) as load:
        for number in range(5):
            load.wait_for(20 * (number + 1))
            write_records(draft, [*contents(server.candidates), record(f"added{number}")])
            os.replace(draft, server.candidates)
            eventually(lambda number=number: get(server, f"added{number}"))
    acks.add(record(f"added{number}") for number in range(5))
    check(acks, server)
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)


def test_a_file_that_was_deleted_is_put_back_while_it_runs(files: Server, acks: Acks) -> None:
    server = files.start()
    with Load(acks, server.address, threads=2, pause_s=0.02) as load:
        for number, path in enumerate((server.candidates, server.approved)):
            load.wait_for(30 * (number + 1))
            path.unlink()
            eventually(path.exists)
    check(acks, server)
    assert server.stop() == 0


def test_a_symbolic_link_stays_one_and_its_target_is_kept_level(files: Server, acks: Acks, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.jsonl"
    target.parent.mkdir()
    files.candidates.rename(target)
    files.candidates.symlink_to(target)
    server = files.start()
    with Load(acks, server.address, threads=2) as load, target.open("a") as held:
        load.wait_for(60)
        # No lease can be taken while the handle is held, so the file is replaced: beside the target, not the link.
        eventually(lambda: os.stat(target).st_ino != os.fstat(held.fileno()).st_ino)
        held.write(json.dumps(LATE) + "\n")
    eventually(lambda: get(server, "late"))
    acks.add([LATE])
    check(acks, server)
    assert server.candidates.is_symlink() and server.candidates.resolve() == target
    assert server.stop() == 0
    assert server.candidates.is_symlink()
    assert sorted(one["id"] for one in contents(target)) == sorted(acks.known)


@pytest.mark.parametrize("held", [False, True], ids=["patched", "swapped"])
def test_what_others_append_through_a_hard_link_is_not_lost(files: Server, acks: Acks, held: bool) -> None:
    if held:
        whole_only()
    server = files.start()
    other = server.data / "another-name.jsonl"
    other.hardlink_to(server.candidates)
    caller = Caller(acks, server.address)
    with server.candidates.open("a") as handle:
        if not held:
            handle.close()
        assert caller.submit("correct")
        files_agree(acks, server.data)
    assert other.samefile(server.candidates) is not held
    append(other, LATE)
    eventually(lambda: get(server, "late"))
    acks.add([LATE])
    check(acks, server)
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)


@pytest.fixture
def unprivileged(files: Server) -> Server:
    """The same, by a root that is bound to file modes as anybody is."""
    need("root", "setpriv")
    dropped = "-dac_override,-dac_read_search"
    files.prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    return files


def test_a_file_that_cannot_be_read_holds_up_nothing_and_is_caught_up_with(unprivileged: Server, acks: Acks) -> None:
    server = unprivileged.start()
    os.chmod(server.candidates, 0)
    with Load(acks, server.address, threads=2, pause_s=0.02) as load:
        load.wait_for(40)
        append(server.candidates, LATE)
        eventually(lambda: "shared file not brought up to date" in server.log)
        load.wait_for(60)
    assert get(server, "late") is None
    os.chmod(server.candidates, 0o640)
    eventually(lambda: get(server, "late"))
    acks.add([LATE])
    check(acks, server)
    assert os.stat(server.candidates).st_mode & 0o777 == 0o640
    assert server.stop() == 0


def test_a_start_on_a_file_that_cannot_be_read_is_refused_and_changes_nothing(unprivileged: Server) -> None:
    before = unprivileged.candidates.read_bytes()
    os.chmod(unprivileged.candidates, 0)
    process = unprivileged.spawn(unprivileged.directory / "server.log")
    try:
        assert process.wait(timeout=30) == 1
    finally:
        process.kill()
    assert "avocet-grpc: cannot use the shared files: Permission denied" in unprivileged.log
    assert "Traceback" not in unprivileged.log
    assert unprivileged.candidates.read_bytes() == before


def test_a_stop_that_could_not_bring_a_file_up_to_date_does_not_exit_0(unprivileged: Server, acks: Acks) -> None:
    whole_only()
    server = unprivileged.start()
    os.chmod(server.candidates, 0)
    assert Caller(acks, server.address).submit("correct")
    server.process.send_signal(signal.SIGTERM)
    assert server.ended(within=90) == 4
    assert "start and stop again" in server.log
    os.chmod(server.candidates, 0o644)
    check(acks, server.start())
    assert server.stop() == 0
    files_agree(acks, server.data, within=0)
