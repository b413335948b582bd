"""The iterators over an export's examples: sync and async, over the same state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from avocet_client.backoff import Backoff
from avocet_client.base import Streams
from avocet_client.calls import timeout_of
from avocet_client.errors import CorrectionsError, ExportCorrupted, RevisionExpired, error_of_call, error_of_cancelled
from avocet_client.export_state import ExportState, ExportStateDict
from avocet_client.jsonl import JsonlDownload, Progress
from avocet_client.render import Render, to_dict
from avocet_client.v1 import corrections_pb2 as pb


class _Export:
    """What both iterators share: an export's state, and what its reader may know of it."""

    def __init__(self, open: Streams, request: pb.StreamExportRequest, retry_for: float, timeout: float | None):
        self._open = open
        self._request = request
        self._state = ExportState(request)
        self._backoff = Backoff(retry_for)
        self._timeout = timeout_of("StreamExport", timeout)
        self._call: Any = None
        self.rows_written = 0
        """How many rows `write_jsonl` has put into its file; an example has as many as its renderer makes."""

    @property
    def total(self) -> int | None:
        """How many examples the whole export has; None before the first has arrived."""
        return self._state.total

    @property
    def revision(self) -> int:
        """The revision that the export is pinned to; 0 before the first example has arrived."""
        return self._state.revision

    @property
    def asked_revision(self) -> int:
        """The revision that was asked for; 0 for what there is when the export begins."""
        return self._request.at_revision

    @property
    def consumed(self) -> int:
        """How many examples were handed out, those before a loaded state included."""
        return self._state.consumed

    def state_dict(self) -> ExportStateDict:
        """Return where the export stands, at the very example; save it with the model's checkpoint."""
        return self._state.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` stands, in this process or another, for as long as the server keeps the revision.

        Raises ValueError if the state is of another filter, shard, split or revision, or if it is not a state at all.
        """
        self.close()
        self._state.load_state_dict(state)

    def pin(self, revision: int) -> None:
        """Take the examples of this revision, which the snapshot's name stood for when it was looked up.

        Call it before the first example.
        """
        self._state.pin(revision)

    def close(self) -> None:
        """Let the stream go. Iterating on opens another that continues."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    @contextmanager
    def _download(self, path: str | Path, render: Render, on_progress: Progress | None) -> Iterator[JsonlDownload]:
        self._reset()
        download = JsonlDownload(Path(path), self, render, on_progress)
        download.open(self.load_state_dict)
        try:
            yield download
            self.rows_written = download.rows
        except ExportCorrupted:
            download.discard()  # nothing of it may be continued
            raise
        finally:
            download.close()

    def _begin_anew(self, download: JsonlDownload) -> None:
        """The revision of a download that was broken off is gone, and nothing of it was seen: take today's."""
        download.discard()
        self._reset()
        download.open(self.load_state_dict)

    def _reset(self) -> None:
        self.close()
        self._state = ExportState(self._request)
        self._backoff.progressed()

    def _request_stream(self) -> Any:
        return self._open(self._state.next_request(), timeout=self._timeout)

    def _broke(self, error: CorrectionsError, closings: int) -> float:
        """Return the seconds to wait before the next call. Raises the error if there must be none."""
        self.close()
        self._open.check(closings, error)
        return self._backoff.pause(error, time.monotonic())

    def _receive(self, response: pb.StreamExportResponse) -> None:
        self._state.receive(response)
        self._backoff.progressed()


class Export(_Export, Iterator[pb.TrainingExample]):
    """Iterates over the examples of one export, each once, in order of approval, across breaks of the stream.

    Raises ExportCorrupted if the server's summary contradicts what arrived, RevisionExpired if the revision is no
    longer kept, and the last error of an outage that outlasted `retry_for`. Not for two threads at once.
    """

    def __next__(self) -> pb.TrainingExample:
        while (example := self._state.take()) is None:
            if self._state.finished:
                raise StopIteration
            self._fill()
        return example

    def _fill(self) -> None:
        closings = self._open.closings
        try:
            if self._call is None:
                self._call = self._request_stream()
            response = next(self._call, None)
            if response is not None:
                self._receive(response)
                return
            error: CorrectionsError = self._state.ended()
        except grpc.RpcError as broken:
            error = error_of_call(broken)
        except BaseException:
            self.close()  # Ctrl-C may have lost a response on its way here; who iterates on gets another stream
            raise
        time.sleep(self._broke(error, closings))

    def write_jsonl(self, path: str | Path, *, render: Render = to_dict, on_progress: Progress | None = None) -> int:
        """Write all examples to `path`, a row a line, and give the number of examples.

        `path` appears when the export is complete, and not before. The same call again continues a download that was
        broken off, at the revision where it began. `render` makes the rows of an example: `to_dict` (all of it),
        `to_sft`, ... `on_progress(done, total)` is called every second; without it, a terminal shows a line. Raises
        FileExistsError where another process is writing the same file.
        """
        with self._download(path, render, on_progress) as download:
            try:
                for example in self:
                    download.add(example)
            except RevisionExpired:
                if not download.resumed:
                    raise
                self._begin_anew(download)
                for example in self:
                    download.add(example)
            return download.finish()


class AsyncExport(_Export, AsyncIterator[pb.TrainingExample]):
    """`Export` for asyncio: `async for example in client.export(...)`."""

    async def __anext__(self) -> pb.TrainingExample:
        while (example := self._state.take()) is None:
            if self._state.finished:
                raise StopAsyncIteration
            await self._fill()
        return example

    async def _fill(self) -> None:
        closings = self._open.closings
        try:
            if self._call is None:
                self._call = self._request_stream()
            response = await self._call.read()
            if response is not grpc.aio.EOF:
                self._receive(response)
                return
            error: CorrectionsError = self._state.ended()
        except grpc.RpcError as broken:
            error = error_of_call(broken)
        except asyncio.CancelledError as cancelled:
            self.close()  # gRPC has cancelled the stream with the task; who iterates on gets another
            error = error_of_cancelled(cancelled)
        except BaseException:
            self.close()
            raise
        await asyncio.sleep(self._broke(error, closings))

    async def write_jsonl(
        self, path: str | Path, *, render: Render = to_dict, on_progress: Progress | None = None
    ) -> int:
        """As `Export.write_jsonl`; the file itself is written between the awaits."""
        with self._download(path, render, on_progress) as download:
            try:
                async for example in self:
                    download.add(example)
            except RevisionExpired:
                if not download.resumed:
                    raise
                self._begin_anew(download)
                async for example in self:
                    download.add(example)
            return download.finish()
