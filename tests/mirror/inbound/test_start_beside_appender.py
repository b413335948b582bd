"""A start does not wait for a moment at which nobody appends."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from tests.support import Server, eventually, lines, record, write_records

COUNT = 4_000


@pytest.mark.parametrize("first", [True, False])
def test_a_start_beside_a_steady_appender_takes_all_in(stopped_server: Server, first: bool) -> None:
    path = stopped_server.candidates
    write_records(path, [record(f"c{n}", model_response="x" * 1_000) for n in range(COUNT)])
    server = stopped_server
    if not first:
        server.start()
        server.correct("c1")
        server.kill()
    done = threading.Event()

    def append_in_a_loop() -> None:
        with path.open("ab", buffering=0) as file:
            for number in itertools.count():
                file.write(json.dumps(record(f"foreign-{number}")).encode() + b"\n")
                if done.wait(0.003):
                    return

    appender = threading.Thread(target=append_in_a_loop)
    appender.start()
    try:
        server.start()
        appended = server.stats().total - COUNT
        eventually(lambda: server.stats().total > COUNT + appended)
    finally:
        done.set()
        appender.join()
    eventually(lambda: server.stats().total == len({json.loads(line)["id"] for line in lines(path)}))
    assert server.stop() == 0
