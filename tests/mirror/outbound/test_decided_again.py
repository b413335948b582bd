"""A record that is undone and approved again within one round of writing stands in the approved file once."""

from __future__ import annotations

import threading

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, records, write_records

ROUNDS = 60


def test_a_plain_reader_never_sees_twice_what_was_undone_and_approved_again(stopped_server: Server) -> None:
    write_records(stopped_server.candidates, [record(f"c{n}") for n in range(ROUNDS)])
    server = stopped_server.start()
    for n in range(ROUNDS):
        server.correct(f"c{n}", "first")
    eventually(lambda: len(records(server.approved)) == ROUNDS)
    twice: list[str] = []
    done = threading.Event()

    def read_in_a_loop() -> None:
        while not done.is_set():
            ids = [one["id"] for one in records(server.approved)]
            twice.extend(id for id in set(ids) if ids.count(id) > 1)

    reader = threading.Thread(target=read_in_a_loop)
    reader.start()
    for n in range(ROUNDS):
        server.stub.Undo(pb.UndoRequest(id=f"c{n}"))
        server.correct(f"c{n}", "second")
    eventually(lambda: [one["corrected_response"] for one in records(server.approved)] == ["second"] * ROUNDS)
    done.set()
    reader.join()
    assert twice == []
