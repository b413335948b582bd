"""Row 5 more closely: after a power cut the file has grown, and the blocks that it grew by were never written."""

from __future__ import annotations

import random

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.faults.acks import Acks
from tests.faults.load import candidates
from tests.faults.support import WHOLE
from tests.support import Server, eventually, lines, write_records

COUNT = 60
END = 8_000
"""Bytes: less than twenty lines."""


@pytest.mark.parametrize("whole_end", [True, False] if WHOLE else [True])
def test_unwritten_blocks_at_the_end_are_no_line_and_what_stood_there_is_put_back(
    victim: Server, acks: Acks, whole_end: bool
) -> None:
    dice = random.Random(acks.seed)
    write_records(victim.candidates, made := candidates(COUNT, size=400))
    acks.add(made)
    server = victim.start()
    before = server.candidates.stat().st_size
    ids = [one["id"] for one in made[:20]]
    # Each is written again at the end, and longer. Whoever opened the file to look might have it replaced instead.
    grown = before + sum(len(line) for line in lines(server.candidates)[:20])
    for id in ids:
        server.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_DISCARD))
    eventually(lambda: server.candidates.stat().st_size >= grown)
    server.kill()
    assert sum(b'"discarded"' in line for line in lines(server.candidates)) == len(ids)
    size = server.candidates.stat().st_size
    # Among what the file grew by. If it was replaced all the same, the last lines of the new one are lost.
    start = dice.randrange(size - END, size - 2_000)
    stop = size if not whole_end else dice.randrange(start + 1_000, size - 10)
    with server.candidates.open("r+b") as file:
        file.seek(start)
        file.write(b"\0" * (stop - start))
    assert any(b"\0" in line for line in lines(server.candidates))
    server.start()
    eventually(lambda: not any(b"\0" in line for line in lines(server.candidates)))
    found = [line for line in lines(server.candidates) if line.strip()]
    assert len(found) == COUNT
    assert sum(b'"discarded"' in line for line in found) == len(ids)
    assert server.stats().malformed == 0


def test_nuls_that_another_program_wrote_stay_where_they_are(victim: Server) -> None:
    write_records(victim.candidates, candidates(5))
    with victim.candidates.open("ab") as file:
        file.write(b'{"id": "x\0\0y"}\n')
    server = victim.start()
    server.kill()
    server.start()
    assert server.stats().malformed == 1
    assert b'{"id": "x\0\0y"}' in server.candidates.read_bytes().split(b"\n")
