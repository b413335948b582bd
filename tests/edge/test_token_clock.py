"""A token's end is a moment of the wall clock, whichever way somebody sets that clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.edge.auth.policy import INCLUDED, Role
from avocet_grpc.edge.auth.tokens import Credentials, Token, secret_token
from avocet_grpc.edge.interceptors.auth import Admission
from avocet_grpc.edge.interceptors.limits import Limiter
from avocet_grpc.edge.interceptors.log import CallLog
from avocet_grpc.edge.interceptors.passage import Passage
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits
from tests.support import PATIENCE_S

SERVICE = "avocet.corrections.v1.CorrectionsService"
BEARER = (("authorization", "Bearer s"),)
REFUSED = grpc.StatusCode.PERMISSION_DENIED
ENDS = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class SetClock:
    """A wall clock that stands where it was set to."""

    def __init__(self) -> None:
        self.now = ENDS - SECOND

    def __call__(self) -> datetime:
        return self.now


async def echo(requests: AsyncIterator[pb.StreamIngestRequest], _: Any) -> AsyncIterator[pb.StreamIngestResponse]:
    async for _request in requests:
        yield pb.StreamIngestResponse()


async def follow(_request: pb.WatchRequest, _context: Any) -> AsyncIterator[pb.WatchResponse]:
    while True:
        yield pb.WatchResponse()
        await asyncio.sleep(0.01)


async def version(_request: pb.GetVersionRequest, _context: Any) -> pb.GetVersionResponse:
    return pb.GetVersionResponse()


HANDLERS: dict[str, Any] = {
    "StreamIngest": grpc.stream_stream_rpc_method_handler(
        echo, pb.StreamIngestRequest.FromString, pb.StreamIngestResponse.SerializeToString
    ),
    "Watch": grpc.unary_stream_rpc_method_handler(
        follow, pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString
    ),
    "GetVersion": grpc.unary_unary_rpc_method_handler(
        version, pb.GetVersionRequest.FromString, pb.GetVersionResponse.SerializeToString
    ),
}


def with_server(test: Callable[[Any, SetClock], Coroutine[Any, Any, None]]) -> None:
    """Run `test` against a server whose one token ends at ENDS."""

    async def run() -> None:
        clock = SetClock()
        roles = INCLUDED[Role.INGEST] | INCLUDED[Role.READER]
        known = Credentials((Token("kiwi", secret_token("s").sha256, roles, ENDS),), open=False)
        passage = Passage(CallLog(), Admission(lambda: known, clock), Limiter(Gate(), Limits()))
        server = grpc.aio.server(interceptors=(passage,))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(test(channel, clock), PATIENCE_S)
        finally:
            await server.stop(0)

    asyncio.run(run())


async def code_of_a_call(channel: Any) -> grpc.StatusCode:
    try:
        await channel.unary_unary(f"/{SERVICE}/GetVersion")(b"", metadata=BEARER)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def code_at_its_end(call: Any) -> grpc.StatusCode:
    """Read what was sent before, to the end."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    code: grpc.StatusCode = await call.code()
    return code


def test_a_token_ends_when_the_clock_is_set_on_and_is_good_again_when_it_is_set_back() -> None:
    async def test(channel: Any, clock: SetClock) -> None:
        assert await code_of_a_call(channel) is grpc.StatusCode.OK
        for now, code in ((ENDS, REFUSED), (ENDS + SECOND, REFUSED), (ENDS - SECOND, grpc.StatusCode.OK)):
            clock.now = now
            assert await code_of_a_call(channel) is code

    with_server(test)


def test_a_stream_of_requests_ends_at_the_first_message_after_its_tokens_end() -> None:
    async def test(channel: Any, clock: SetClock) -> None:
        call = channel.stream_stream(f"/{SERVICE}/StreamIngest")(metadata=BEARER)
        await call.write(b"")
        assert await call.read() == b""
        clock.now = ENDS - timedelta(days=365)
        await call.write(b"")
        assert await call.read() == b""
        clock.now = ENDS
        await call.write(b"")
        assert await code_at_its_end(call) is REFUSED

    with_server(test)


def test_a_stream_of_responses_ends_at_the_first_one_after_its_tokens_end() -> None:
    async def test(channel: Any, clock: SetClock) -> None:
        call = channel.unary_stream(f"/{SERVICE}/Watch")(b"", metadata=BEARER)
        for _ in range(5):
            assert await call.read() == b""
        clock.now = ENDS + SECOND
        assert await code_at_its_end(call) is REFUSED
        clock.now = ENDS - SECOND
        assert await code_of_a_call(channel) is grpc.StatusCode.OK

    with_server(test)
