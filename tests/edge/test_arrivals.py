"""The budget of bytes under way: what calls have in their hands, and what nobody counts, on a Unix socket."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any, cast

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import Overloaded
from avocet_grpc.edge import wire
from avocet_grpc.edge.arrivals import LARGE, Arrivals, Incoming, Parse, Uncounted
from avocet_grpc.edge.call_context import begin
from avocet_grpc.edge.unfinished import UnfinishedLines
from tests.support import PATIENCE_S

MB = 1 << 20


class Waiting:
    """A call that waits for its message."""

    is_waiting = True


def callers(allocated: int) -> Uncounted:
    connection = Uncounted(allocated)
    connection.calls.add(cast(Incoming, Waiting()))
    connection.compare(allocated, accounted=0)
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


def test_a_call_that_has_just_begun_is_not_ended_for_what_others_sent() -> None:
    connection = callers(20 * MB)
    connection.calls.add(young := cast(Incoming, Waiting()))
    connection.compare(80 * MB, accounted=0)
    assert connection.greedy_calls() == [call for call in connection.calls if call is not young]
    connection.forgive()
    connection.compare(80 * MB, accounted=0)
    assert connection.unfinished == 60 * MB, "it may be the young call that sent it"
    assert young in connection.greedy_calls()


def message_of(size: int) -> bytes:
    """A message of one field, `size` bytes long."""
    left = size - 2
    while len(raw := pb.UploadRunRequest(lines=bytes(left)).SerializeToString()) > size:
        left -= 1
    assert len(raw) == size
    return raw


class Sent:
    """A call's context, as far as receiving goes: its messages have `sizes`."""

    def __init__(self, *sizes: int) -> None:
        self._sizes = [*sizes]
        self.read_count = 0

    async def read(self) -> bytes:
        self.read_count += 1
        return message_of(self._sizes.pop(0))


class Unfinished(Sent):
    """A call whose message never ends."""

    async def read(self) -> bytes:
        await asyncio.sleep(3_600)
        raise AssertionError


def call_of(arrivals: Arrivals, sent: Sent, parse: Parse = bytes) -> Incoming:
    context: Any = sent
    return arrivals.begin(16 * MB, parse, context, "ipv4:127.0.0.1:1")


async def is_taken(arrivals: Arrivals, size: int) -> bool:
    """Whether a message of `size` bytes is taken beside what is there; the call ends at once."""
    call = call_of(arrivals, Sent(size))
    try:
        return len(await call.only()) == size
    except Overloaded:
        return False
    finally:
        call.close()


def test_a_message_is_refused_while_calls_have_as_much_in_their_hands_as_the_server_takes() -> None:
    async def steps() -> None:
        arrivals = Arrivals(10 * MB, UnfinishedLines())
        first, second = (call_of(arrivals, Sent(4 * MB)) for _ in range(2))
        for call in (first, second):
            await call.only()
        assert not await is_taken(arrivals, 4 * MB)
        assert await is_taken(arrivals, 1 * MB)
        first.close()
        assert await is_taken(arrivals, 4 * MB)
        second.close()
        assert arrivals.held == 0

    asyncio.run(steps())


def thread_name(raw: bytes) -> str:
    """In the place of a parser: which thread it runs in."""
    return threading.current_thread().name


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_large_message_is_parsed_in_a_thread_and_a_small_one_in_that_of_the_event_loop(is_stream: bool) -> None:
    async def parsed_in(size: int) -> str:
        call = call_of(Arrivals(10 * MB, UnfinishedLines()), Sent(size), thread_name)
        try:
            return str(await anext(aiter(call)) if is_stream else await call.only())
        finally:
            call.close()

    async def steps() -> None:
        begin("/method", ())
        # From there on it may have too many fields, and counting them takes a thread too.
        assert await parsed_in(wire.MOST_FIELDS * wire.SMALLEST_FIELD) == thread_name(b"")
        assert (await parsed_in(LARGE + 1)).startswith("parse_")

    asyncio.run(steps())


@pytest.mark.parametrize(("line", "room"), [(0, 10), (3, 7), (9, 5)])
def test_unfinished_lines_leave_messages_less_room_but_half_of_it(line: int, room: int) -> None:
    async def steps() -> None:
        lines = UnfinishedLines(20 * MB)
        arrivals = Arrivals(10 * MB, lines)
        with lines.upload(lambda _: None) as upload:
            upload.holds(line * MB)
            assert await is_taken(arrivals, room * MB)
            assert not await is_taken(arrivals, room * MB + 1)
        assert await is_taken(arrivals, 10 * MB)

    asyncio.run(steps())


def test_a_call_reads_a_large_message_only_when_it_has_finished_with_the_one_before() -> None:
    async def steps() -> None:
        begin("/method", ())
        sent = Sent(2 * MB, 2 * MB, 100, 100)
        call = call_of(Arrivals(10 * MB, UnfinishedLines()), sent)
        messages = aiter(call)
        await anext(messages)
        second: asyncio.Future[bytes] = asyncio.ensure_future(anext(messages))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not second.done() and sent.read_count == 1
        call.finished()
        assert len(await asyncio.wait_for(second, PATIENCE_S)) == 2 * MB
        call.finished()
        for _ in range(2):
            assert len(await asyncio.wait_for(anext(messages), PATIENCE_S)) == 100
        call.close()

    asyncio.run(steps())


def test_a_call_that_has_its_only_message_is_not_ended_for_what_others_on_its_connection_send() -> None:
    async def ended(call: Incoming) -> bool:
        with suppress(asyncio.CancelledError):
            await call.only()
            await asyncio.sleep(0.1)
        return call.ended is not None

    async def steps() -> None:
        arrivals = Arrivals(10 * MB, UnfinishedLines())

        async def one(sent: Sent) -> tuple[Incoming, bool]:
            call = call_of(arrivals, sent)
            return call, await ended(call)

        tasks = [asyncio.ensure_future(one(sent)) for sent in (Sent(4 * MB), Unfinished())]
        while not arrivals.held:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        (connection,) = arrivals._connections.values()
        connection.unfinished = 20 * MB
        arrivals._evict()
        (first, was_ended), (second, is_ended) = await asyncio.gather(*tasks)
        assert (was_ended, is_ended, arrivals.evicted) == (False, True, 1)
        first.close()
        second.close()

    asyncio.run(steps())
