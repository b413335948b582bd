"""Shared files whose inode number or time is larger than most, and one file under both names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from avocet_grpc.exit_codes import ExitCode
from tests.faults.support import mounted, need
from tests.support import Server, eventually, record, write_records

YEAR_2400 = 13_569_465_600


def ids(path: Path) -> list[str]:
    return [line.partition('"id": "')[2].partition('"')[0] for line in path.read_text().splitlines()]


def decide_and_restart(server: Server) -> None:
    server.correct("c1")
    eventually(lambda: ids(server.approved) == ["c1"])
    assert server.stop() == 0
    assert server.start().stats().total == 2
    server.correct("c2")
    eventually(lambda: ids(server.approved) == ["c1", "c2"])
    assert server.stop() == 0


@pytest.mark.parametrize("runs", [False, True], ids=["at the start", "while it runs"])
def test_a_time_in_a_far_century_holds_no_file_up(stopped_server: Server, runs: bool) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c1"), record("c2")])
    if runs:
        server.start()
    os.utime(server.candidates, (YEAR_2400, YEAR_2400))
    assert server.candidates.stat().st_mtime_ns > 2**63
    if not runs:
        server.start()
    decide_and_restart(server)
    os.utime(server.candidates, (YEAR_2400, YEAR_2400))
    assert server.start().stats().by_status["approved"] == 2


def test_an_inode_number_of_64_bits_holds_no_file_up(stopped_server: Server, tmp_path: Path) -> None:
    need("root")
    server = stopped_server
    for name in ("lower", "layers"):
        (tmp_path / name).mkdir()
    with mounted(tmp_path / "lower", "-t", "tmpfs", "tmpfs"), mounted(tmp_path / "layers", "-t", "tmpfs", "tmpfs"):
        write_records(tmp_path / "lower" / server.candidates.name, [record("c1"), record("c2")])
        for name in ("upper", "work"):
            (tmp_path / "layers" / name).mkdir()
        layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/layers/upper,workdir={tmp_path}/layers/work"
        with mounted(server.data, "-t", "overlay", "-o", f"{layers},xino=on", "overlay"):
            assert server.candidates.stat().st_ino > 2**63
            server.start()
            decide_and_restart(server)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_one_file_under_both_names_is_refused_with_what_to_do(
    stopped_server: Server, link: Callable[[Path, Path], None]
) -> None:
    server = stopped_server
    write_records(server.candidates, [record("c1")])
    before = server.candidates.read_bytes()
    link(server.candidates, server.approved)
    process = server.spawn(server.directory / "server.log")
    try:
        assert process.wait(60) == ExitCode.FAILED
    finally:
        process.kill()
    assert "a link to the same file as sft_candidates.jsonl; give each a file of its own (" in server.log
    assert server.candidates.read_bytes() == before
