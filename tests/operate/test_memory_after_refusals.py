"""What a refused caller sent is given back at once, and does not wait for the garbage collector."""

from __future__ import annotations

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.memory import forget_peaks, peak_bytes
from tests.operate.support import resident_bytes
from tests.support import SECRET, Server, bearer, failure_of

TEXT = "x" * 3_900_000
COUNT = 40


def test_large_requests_that_are_refused_do_not_add_up(server: Server) -> None:
    refused = pb.IngestRequest(source="kiwi", task_type="qa", prompt=TEXT, response=TEXT, correction=" ")

    def send() -> None:
        failure = failure_of(lambda: server.stub.Ingest(refused, metadata=bearer(SECRET), timeout=30))
        assert failure.fields == ["correction"]

    send()
    before = resident_bytes(server)
    forget_peaks(server.pids)
    for _ in range(COUNT):
        send()
    growth = peak_bytes(server.pids) - before
    print(f"{COUNT} refused requests of 8 MB: {growth >> 20} MB more")
    assert growth < 120 << 20
