"""An edit that leaves size and modification time as they were is noticed all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import candidates
from tests.support import Server, eventually, write_records


@pytest.fixture
def files(victim: Server, acks: Acks) -> Server:
    write_records(victim.candidates, made := candidates(50))
    acks.add(made)
    return victim


def edit_and_hide_it(path: Path) -> None:
    """One letter becomes another, in place; size, access and modification time say nothing of it."""
    before = os.stat(path)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(b"c00007"))
        file.seek(content.index(b"Blue sky", file.tell()))
        file.write(b"Grey sky")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(path)
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)


def name(server: Server) -> str:
    from avocet_client.v1 import corrections_pb2 as pb

    return server.stub.GetCandidate(pb.GetCandidateRequest(id="c00007")).candidate.task_name


@pytest.mark.parametrize("when", ["running", "stopped", "killed"])
def test_a_rewrite_of_the_same_size_and_time_is_noticed(files: Server, acks: Acks, when: str) -> None:
    server = files.start()
    if when == "stopped":
        assert server.stop() == 0
    elif when == "killed":
        server.kill()
    edit_and_hide_it(server.candidates)
    if when != "running":
        server.start()
        assert name(server) == "Grey sky"
    eventually(lambda: name(server) == "Grey sky")
    acks.edit("c00007", task_name="Grey sky")
    check(acks, server)
