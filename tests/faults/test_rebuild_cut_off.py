"""A rebuild that is cut off anywhere loses nothing acknowledged: the next start, or the next rebuild, finishes it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.layout import DataDirectory
from tests.faults.support import WHOLE, need, new_seed, run
from tests.support import BIN, Server, record, records, write_records

ACKNOWLEDGED = 4
SOURCE = Path(__file__).with_name("killer.c")


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose service was killed before the files had any of its changes."""
    server = Server(tmp_path_factory.mktemp("crashed"))
    write_records(server.candidates, [record(f"c{number}") for number in range(9)])
    server.start()
    for pid in server.processes("mirror"):
        os.kill(pid, signal.SIGSTOP)
    for number in range(ACKNOWLEDGED):
        server.correct(f"c{number}", f"text {number}")
    server.kill()
    assert records(server.approved) == []
    return server.data


def copied(crashed: Path, place: Path) -> Server:
    """A server with a copy of the directory, sockets and times included."""
    server = Server(place)
    shutil.rmtree(server.data)
    run("cp", "-a", str(crashed), str(server.data))
    return server


def rebuild(server: Server, *prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, str(BIN / "avocet-grpc"), "rebuild", "--data-dir", str(server.data), "--yes"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


def nothing_is_lost(server: Server) -> None:
    """Start and stop it: every acknowledged change is served and reaches the files, and nothing is left over."""
    server.start()
    try:
        for number in range(ACKNOWLEDGED):
            found = server.stub.GetCandidate(pb.GetCandidateRequest(id=f"c{number}")).candidate
            assert (found.status, found.corrected_response) == (pb.CANDIDATE_STATUS_APPROVED, f"text {number}")
        assert server.stats().total == 9
        assert server.stop() == 0
    finally:
        server.kill()
    written = {one["id"]: one["corrected_response"] for one in records(server.approved)}
    assert written == {f"c{number}": f"text {number}" for number in range(ACKNOWLEDGED)}
    left = [path.name for place in (server.data, DataDirectory(server.data).private) for path in place.iterdir()]
    assert not [name for name in left if name.startswith((".avocet-", "rebu"))]


class Killer:
    """Kills a rebuild before its n-th call that changes a name, or makes something durable."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._library = directory, directory / "killer.so"
        run("gcc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(SOURCE), "-ldl")

    def rebuild(self, server: Server, when: int) -> int:
        for name in ("calls", "count"):
            (self._directory / name).unlink(missing_ok=True)
        environment = {
            "LD_PRELOAD": str(self._library),
            "KILLER_BELOW": str(server.data),
            "KILLER_LOG": str(self._directory / "calls"),
            "KILLER_COUNT": str(self._directory / "count"),
            "KILLER_WHEN": str(when),
        }
        return rebuild(server, **environment).returncode

    def seen(self) -> list[str]:
        return [line.split(" ", 2)[1] for line in (self._directory / "calls").read_text().splitlines()]


@pytest.mark.timeout(1200 if WHOLE else 120)
def test_nothing_is_lost_by_a_kill_at_any_call_of_a_rebuild(crashed: Path, tmp_path: Path) -> None:
    need("gcc")
    killer, dice = Killer(tmp_path), random.Random(new_seed())
    assert killer.rebuild(copied(crashed, tmp_path / "whole"), 0) == 0
    calls = killer.seen()
    renames = [number for number, call in enumerate(calls, 1) if call == "rename"]
    assert len(renames) >= 4
    whens = range(1, len(calls) + 1) if WHOLE else sorted({*renames, *dice.sample(range(1, len(calls) + 1), 2)})
    for when in whens:
        server = copied(crashed, tmp_path / f"killed-{when}")
        assert killer.rebuild(server, when) == -signal.SIGKILL, calls
        print(f"killed before call {when}, {calls[when - 1]}")
        if when % 2:
            assert rebuild(server).returncode == 0
        nothing_is_lost(server)


@pytest.mark.timeout(600 if WHOLE else 120)
@pytest.mark.parametrize("fault", ["signal=INT", "error=EIO"])
@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_nothing_is_lost_by_an_interruption_or_an_error_of_a_rebuild(
    crashed: Path, tmp_path: Path, call: str, fault: str
) -> None:
    need("strace")
    trace = ["strace", "-f", "-qq", "-o", str(tmp_path / "calls"), "-e", f"trace={call}"]
    assert rebuild(copied(crashed, tmp_path / "whole"), *trace).returncode == 0
    # strace counts for each thread by itself, and the main one makes almost all of them.
    threads = Counter(line.split()[0] for line in (tmp_path / "calls").read_text().splitlines() if f"{call}(" in line)
    every = range(1, max(threads.values()) + 1)
    for when in every if WHOLE else sorted(random.Random(new_seed()).sample(every[1:], 2)):
        server = copied(crashed, tmp_path / f"failed-{when}")
        done = rebuild(server, *trace, "-e", f"inject={call}:{fault}:when={when}")
        assert re.search("INJECTED|SIGINT", (tmp_path / "calls").read_text()), f"{call} {when} of {every}"
        assert "Traceback" not in done.stderr
        nothing_is_lost(server)


@pytest.mark.timeout(600 if WHOLE else 120)
def test_what_a_killed_rebuild_of_root_leaves_keeps_no_other_users_service_from_starting(
    crashed: Path, tmp_path: Path
) -> None:
    need("gcc", "root")
    killer, dice = Killer(tmp_path), random.Random(new_seed())
    assert killer.rebuild(copied(crashed, tmp_path / "whole"), 0) == 0
    every = range(1, len(killer.seen()) + 1)
    for when in (0, *(every if WHOLE else dice.sample(every, 8))):
        server = copied(crashed, tmp_path / f"killed-{when}")
        private = DataDirectory(server.data).private
        for path in [server.data, private, *private.rglob("*")]:
            os.chown(path, 12_345, 12_345)
        assert killer.rebuild(server, when) == (-signal.SIGKILL if when else 0)
        assert {path.stat().st_uid for path in (private, *private.rglob("*"))} == {12_345}


def test_a_rebuild_that_waits_to_be_finished_is_said_by_the_commands_that_only_look(
    crashed: Path, tmp_path: Path
) -> None:
    need("gcc")
    killer = Killer(tmp_path)
    assert killer.rebuild(copied(crashed, tmp_path / "whole"), 0) == 0
    last = max(number for number, call in enumerate(killer.seen(), 1) if call == "rename")
    server = copied(crashed, tmp_path / "killed")
    # The old ledger is away, and the new one is not there yet.
    when = next(when for when in range(last, 0, -1) if _leaves_none(killer, crashed, tmp_path / f"try-{when}", when))
    assert killer.rebuild(server, when) == -signal.SIGKILL
    copy = tmp_path / "copy"
    verify, backup = ["verify", "--data-dir"], ["backup", "--to", str(copy), "--data-dir"]
    to_database = ["store", "copy", "--to", "postgres://a@127.0.0.1:9/b", "--from"]
    for words in (verify, backup, to_database):
        command = [str(BIN / "avocet-grpc"), *words, str(server.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "a rebuild of the ledger was cut off" in done.stderr, done.stdout + done.stderr
    assert not copy.exists()
    nothing_is_lost(server)


def _leaves_none(killer: Killer, crashed: Path, place: Path, when: int) -> bool:
    server = copied(crashed, place)
    killer.rebuild(server, when)
    return not DataDirectory(server.data).ledger.exists()
