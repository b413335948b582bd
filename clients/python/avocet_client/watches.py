"""The iterators over the changes of the store: sync and async, over the same state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import grpc

from avocet_client.backoff import Backoff
from avocet_client.base import Streams
from avocet_client.calls import timeout_of
from avocet_client.errors import CorrectionsError, TransportError, error_of_call, error_of_cancelled
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.watch_state import WatchState, WatchStateDict
from avocet_client.words import CHANGE_ACTIONS, CandidateFilter, ChangeAction, number


def watch_request(
    since_revision: int,
    filter: CandidateFilter | None,
    actions: Sequence[ChangeAction],
    include_candidates: bool,
    include_record: bool,
) -> pb.WatchRequest:
    """Return the request of a watch. Raises ValueError for an unknown action."""
    return pb.WatchRequest(
        since_revision=since_revision,
        filter=filter.message() if filter else None,
        actions=[number("actions", word, CHANGE_ACTIONS) for word in actions],
        include_candidates=include_candidates,
        include_record=include_record,
    )


class _Watch:
    """What both iterators share."""

    def __init__(self, open: Streams, request: pb.WatchRequest, retry_for: float, timeout: float | None) -> None:
        self._open = open
        self._state = WatchState(request)
        self._backoff = Backoff(retry_for)
        self._timeout = timeout_of("Watch", timeout)
        self._call: Any = None

    @property
    def revision(self) -> int:
        """Every change up to this revision was handed out; 0 before the first response."""
        return self._state.revision

    def state_dict(self) -> WatchStateDict:
        """Return where the watch stands, behind the last change handed out.

        Save it with what you made of that change.
        """
        return self._state.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` stands, in this process or another.

        Raises ValueError if the state is of another filter or other actions, or if it is not a state at all.
        """
        self.close()
        self._state.load_state_dict(state)

    def close(self) -> None:
        """Let the stream go. Iterating on opens another that goes on."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _stream(self) -> Any:
        if self._call is None:
            self._call = self._open(self._state.next_request(), timeout=self._timeout)
        return self._call

    def _receive(self, response: pb.WatchResponse) -> None:
        self._state.receive(response)
        self._backoff.progressed()

    def _broke(self, error: CorrectionsError, closings: int) -> float:
        self.close()
        self._open.check(closings, error)
        return self._backoff.pause(error, time.monotonic())


class Watch(_Watch, Iterator[pb.Change]):
    """Iterates over the changes of the store, each once and in order, across breaks of the stream; it waits for more.

    Raises RevisionExpired if changes that belong to it are no longer kept, and the last error of an outage that
    outlasted `retry_for`. Not for two threads at once.
    """

    def __next__(self) -> pb.Change:
        while (change := self._state.take()) is None:
            self._fill()
        return change

    def _fill(self) -> None:
        closings = self._open.closings
        try:
            response = next(self._stream(), None)
            if response is not None:
                self._receive(response)
                return
            error: CorrectionsError = _ended()
        except grpc.RpcError as broken:
            error = error_of_call(broken)
        except BaseException:
            self.close()
            raise
        time.sleep(self._broke(error, closings))


class AsyncWatch(_Watch, AsyncIterator[pb.Change]):
    """`Watch` for asyncio: `async for change in client.watch(...)`."""

    async def __anext__(self) -> pb.Change:
        while (change := self._state.take()) is None:
            await self._fill()
        return change

    async def _fill(self) -> None:
        closings = self._open.closings
        try:
            response = await self._stream().read()
            if response is not grpc.aio.EOF:
                self._receive(response)
                return
            error: CorrectionsError = _ended()
        except grpc.RpcError as broken:
            error = error_of_call(broken)
        except asyncio.CancelledError as cancelled:
            self.close()  # gRPC has cancelled the stream with the task; who iterates on gets another
            error = error_of_cancelled(cancelled)
        except BaseException:
            self.close()
            raise
        await asyncio.sleep(self._broke(error, closings))


def _ended() -> CorrectionsError:
    return TransportError("the server ended the stream", code=grpc.StatusCode.UNAVAILABLE)
