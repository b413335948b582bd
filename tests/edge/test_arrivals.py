"""The budget of bytes under way, as far as nobody counts them: on a Unix socket."""

from __future__ import annotations

from typing import cast

from avocet_grpc.edge.arrivals import Incoming, Uncounted

MB = 1 << 20


class Waiting:
    """A call that waits for its message."""

    is_waiting = True


def callers(allocated: int) -> Uncounted:
    connection = Uncounted(allocated)
    connection.calls.add(cast(Incoming, Waiting()))
    return connection


def test_what_is_allocated_while_calls_wait_is_theirs() -> None:
    connection = callers(20 * MB)
    connection.compare(50 * MB, accounted=0)
    assert connection.unfinished == 30 * MB
    connection.compare(50 * MB, accounted=25 * MB)
    assert connection.unfinished == 5 * MB


def test_after_an_eviction_the_next_callers_have_no_more_room_than_the_first() -> None:
    connection = callers(20 * MB)
    for _ in range(5):
        connection.compare(80 * MB, accounted=0)
        assert connection.unfinished == 60 * MB
        connection.forgive()
        connection.compare(80 * MB, accounted=0)
        assert connection.unfinished == 0, "gRPC has yet to free what the ended calls sent"
        connection.compare(20 * MB, accounted=0)


def test_a_call_that_began_beside_a_large_request_is_not_blamed_when_that_one_has_ended() -> None:
    connection = callers(20 * MB)
    connection.compare(60 * MB, accounted=120 * MB)
    connection.compare(25 * MB, accounted=0)
    assert connection.unfinished <= 5 * MB
    connection.calls.clear()
    connection.compare(60 * MB, accounted=120 * MB)
    connection.calls.add(cast(Incoming, Waiting()))
    connection.compare(25 * MB, accounted=0)
    assert connection.unfinished == 0
