"""A decision in a large file is a small write: the file is not rewritten, and its readers see it soon."""

from __future__ import annotations

import os

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, write_records

COUNT = 20_000
PADDING = "x" * 2_000


def test_a_decision_in_a_large_file_is_patched_in_place(stopped_server: Server) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n:05d}", model_response=PADDING) for n in range(COUNT)])
    server = stopped_server.start()
    before = os.stat(path)
    assert before.st_size > 40_000_000
    for n in range(0, COUNT, COUNT // 10):
        text = f"correction of {n}"
        server.correct(f"c{n:05d}", text)

        def stands_at_the_end(text: str = text) -> bool:
            with open(path, "rb") as file:
                file.seek(-8_000, os.SEEK_END)
                return text.encode() in file.read()

        eventually(stands_at_the_end)
    after = os.stat(path)
    assert after.st_ino == before.st_ino
    assert after.st_size - before.st_size < 10 * 2 * len(PADDING)
    assert server.stub.Stats(pb.StatsRequest()).by_status["approved"] == 10
