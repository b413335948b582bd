"""A shared file that cannot be patched or rewritten holds up no acknowledgement, and is caught up when it can be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from avocet_grpc.layout import SHARED_FILES
from tests import wrong_files
from tests.faults.acks import Acks
from tests.faults.check import answers, check, files, listings
from tests.faults.load import Load, candidates
from tests.faults.support import WHOLE, ext4, mounted, need, run, whole_only
from tests.limited import limited
from tests.operate.test_metrics import samples
from tests.support import COMMAND, Server, eventually, write_records

LAG = "shared file not brought up to date"


def prepare(server: Server, acks: Acks) -> None:
    write_records(server.candidates, made := candidates(200))
    acks.add(made)


@contextmanager
def immutable(server: Server) -> Iterator[None]:
    run("chattr", "+i", str(server.candidates))
    try:
        yield
    finally:
        run("chattr", "-i", str(server.candidates))


@contextmanager
def mounted_and_open(server: Server) -> Iterator[None]:
    """The file is a mount point of its own, which cannot be exchanged, and open, so that no lease can be taken."""
    with mounted(server.candidates, "--bind", str(server.candidates)), server.candidates.open("rb"):
        yield


@pytest.mark.parametrize("stick", [immutable, mounted_and_open] if WHOLE else [immutable])
def test_acknowledgements_go_on_while_a_file_cannot_be_changed_and_it_is_caught_up_afterwards(
    victim: Server, acks: Acks, tmp_path: Path, stick
) -> None:
    need("root", "chattr", "loop")
    with ext4(victim.data, tmp_path / "image"):
        prepare(victim, acks)
        victim.environment = {"AVOCET_METRICS_LISTEN": "127.0.0.1:0"}
        victim.start()
        with stick(victim):
            with Load(acks, victim.address, pause_s=0.01) as load:
                load.wait_for(120)
            assert list(answers(acks.known.values(), victim)) == [] and list(listings(acks, victim)) == []
            assert list(files(acks, victim.data)), "the file was not stuck"
            eventually(lambda: LAG in victim.log)
            # The mirror reports once a second.
            eventually(lambda: samples(victim)["avocet_files_pending_lines", "sft_candidates.jsonl"] > 0)
            eventually(lambda: samples(victim)["avocet_files_lag_seconds", ""] > 0)
        check(acks, victim, asked=10_000)
        assert victim.stop() == 0
        check(acks, victim.start(), asked=10_000)
        victim.kill()


@pytest.mark.parametrize("kind", ["a FIFO", "a directory", "a device"])
@pytest.mark.parametrize("name", SHARED_FILES.values())
def test_what_is_no_file_under_a_shared_files_name_holds_nobody_up_is_told_once_and_is_got_over(
    victim: Server, acks: Acks, name: str, kind: str
) -> None:
    prepare(victim, acks)
    victim.start()
    with Load(acks, victim.address, pause_s=0.01) as load:
        load.wait_for(30)
    check(acks, victim)
    path, aside = victim.data / name, victim.directory / "aside"
    path.rename(aside)
    wrong_files.put(path, kind)
    with Load(acks, victim.address, pause_s=0.01) as load:
        load.wait_for(60)
        eventually(lambda: LAG in victim.log)
        load.wait_for(120)
    assert list(answers(acks.known.values(), victim)) == []
    (told,) = [json.loads(line) for line in victim.log.splitlines() if LAG in line]
    assert (told["level"], told["file"]) == ("error", name)
    assert "not a regular file" in told["error"] and "Traceback" not in victim.log
    wrong_files.take_away(path)
    aside.rename(path)
    check(acks, victim, asked=10_000)
    assert victim.stop() == 0


@pytest.mark.parametrize("kind", ["a FIFO", "a directory", "a device", "a link to itself"])
@pytest.mark.parametrize("name", SHARED_FILES.values())
def test_each_command_on_what_is_no_file_under_a_shared_files_name_ends_with_one_line_and_writes_nothing(
    victim: Server, acks: Acks, name: str, kind: str
) -> None:
    prepare(victim, acks)
    victim.start()
    assert victim.stop() == 0
    path, aside, ledger = victim.data / name, victim.directory / "aside", victim.data / ".avocet/ledger.db"
    path.rename(aside)
    wrong_files.put(path, kind)
    before, target = ledger.read_bytes(), victim.directory / "backup"
    for command in (["verify"], ["rebuild", "--yes"], ["backup", "--to", str(target)]):
        whole = [*COMMAND, *command, "--data-dir", str(victim.data)]
        bounded = limited(whole, RLIMIT_FSIZE=100 << 20)
        done = subprocess.run(bounded, capture_output=True, text=True, timeout=60)
        why = "Too many levels of symbolic links" if kind == "a link to itself" else "not a regular file"
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), (command, done.stderr)
        assert why in done.stderr and name in done.stderr
    assert ledger.read_bytes() == before
    assert not list(victim.directory.glob("backup*")) and not list(ledger.parent.glob("rebuild-*"))
    wrong_files.take_away(path)
    aside.rename(path)
    assert subprocess.run(whole, timeout=60).returncode == 0
    check(acks, victim.start(), asked=1_000)


def test_a_file_that_somebody_keeps_open_is_rewritten_instead(victim: Server, acks: Acks) -> None:
    prepare(victim, acks)
    victim.start()
    with victim.candidates.open("rb") as held, Load(acks, victim.address, pause_s=0.01) as load:
        load.wait_for(120)
        check_quietly(acks, victim, load)
        assert held.read() != victim.candidates.read_bytes(), "it was not kept open"
    check(acks, victim, asked=10_000)


def check_quietly(acks: Acks, server: Server, load: Load) -> None:
    """Hold the files against the book while nobody works."""
    with load.held():
        check(acks, server)


def test_a_file_system_without_exchange_is_served_all_the_same(victim: Server, acks: Acks, tmp_path: Path) -> None:
    need("root")
    for name in ("lower", "layers"):
        (tmp_path / name).mkdir()
    with mounted(tmp_path / "layers", "-t", "tmpfs", "tmpfs"):
        for name in ("upper", "work"):
            (tmp_path / "layers" / name).mkdir()
        layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/layers/upper,workdir={tmp_path}/layers/work"
        with mounted(victim.data, "-t", "overlay", "-o", layers, "overlay"):
            serve_and_restart(victim, acks)


def test_a_file_system_in_memory_is_served_all_the_same(victim: Server, acks: Acks) -> None:
    need("root")
    whole_only()
    with mounted(victim.data, "-t", "tmpfs", "tmpfs"):
        serve_and_restart(victim, acks)


def serve_and_restart(server: Server, acks: Acks) -> None:
    prepare(server, acks)
    server.start()
    for _ in range(2):
        with server.candidates.open("rb"), Load(acks, server.address, pause_s=0.01) as load:
            load.wait_for(60)
        check(acks, server, asked=10_000)
        server.kill()
        check(acks, server.start(), asked=10_000)
    assert server.stop() == 0
    check(acks, server.start())
    server.kill()
