"""The in-memory service: its methods by name, what a test may do to it, and its clients."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from avocet_client import __version__
from avocet_client.aio_client import AsyncCorrectionsClient
from avocet_client.client import CorrectionsClient
from avocet_client.errors import CorrectionsError
from avocet_client.testing import checks, deciding, exporting, reading
from avocet_client.testing.aio_channel import AsyncChannel
from avocet_client.testing.channel import Channel
from avocet_client.testing.records import is_exportable
from avocet_client.testing.refusals import CODES, Refusal, invalid
from avocet_client.testing.store import Clock, Store, change_message
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import CHANGE_ACTIONS

SECRET = "a-secret"
UNARY: Mapping[str, Callable[[Store, Any], Any]] = {
    "ListRuns": exporting.list_runs,
    "Import": exporting.import_run,
    "Queue": reading.queue,
    "Submit": deciding.submit,
    "Undo": deciding.undo,
    "Stats": reading.stats,
    "Ingest": deciding.ingest,
    "ListHistory": reading.list_history,
    "ListCandidates": reading.list_candidates,
    "BatchSubmit": deciding.batch_submit,
    "Claim": deciding.claim,
    "RenewClaims": deciding.renew_claims,
    "ReleaseClaims": deciding.release_claims,
    "CreateSnapshot": exporting.create_snapshot,
    "GetSnapshot": exporting.get_snapshot,
    "ListSnapshots": exporting.list_snapshots,
    "DeleteSnapshot": exporting.delete_snapshot,
}
WITH_TOKEN = ("Ingest", "StreamIngest")
WATCHED = 1_000
"""Changes in one response of a watch."""


class Service:
    """A corrections service in this process: no server, no port, no file.

    `candidates` are records as benchmark runs write them: dicts with an `id`. An approved one is exported too. `secret`
    is the token that `ingest` asks for, and the clients have it; with None, ingestion is not configured.
    """

    def __init__(self, candidates: Iterable[Mapping[str, Any]] = (), *, secret: str | None = SECRET) -> None:
        self._store = Store()
        self._secret = secret
        self._lock = threading.RLock()
        self._started = self._store.clock.now()
        self._failures: dict[str, deque[Refusal]] = {}
        self.add(*candidates)

    @property
    def clock(self) -> Clock:
        """The service's time: `service.clock.advance(600)` ends the leases of ten minutes."""
        return self._store.clock

    def add(self, *candidates: Mapping[str, Any]) -> None:
        """Add candidates, as another program that appends to the shared file does."""
        with self._lock:
            for candidate in candidates:
                record = json.loads(json.dumps(candidate))
                checks.candidate_id(record["id"])
                item = self._store.put(record, "add")
                if is_exportable(record):
                    self._store.approve(record, item.revision)

    def add_run(self, run_id: str, candidates: Iterable[Mapping[str, Any] | str]) -> None:
        """Put a benchmark run there for `list_runs` and `import_run`; a string is a line as it is."""
        lines = [line if isinstance(line, str) else json.dumps(line) for line in candidates]
        self._store.runs[run_id] = lines

    def fail_next(self, method: str, error: type[CorrectionsError], **metadata: str) -> None:
        """Make the next call of a method, such as `Submit`, fail with this error. Nothing is then stored.

        Raises ValueError if the service has no such error.
        """
        if error.reason not in CODES:
            raise ValueError(f"{error.__name__} is not an error of the service")
        message = "A test asked for this error."
        self._failures.setdefault(method, deque()).append(Refusal(error.reason, message, **metadata))

    def client(self, *, token: str | None = None) -> CorrectionsClient:
        """Return a client of this service. Without a `token` it has the service's secret."""
        return CorrectionsClient(Channel(self), token=self._token(token))

    def async_client(self, *, token: str | None = None) -> AsyncCorrectionsClient:
        """Return an async client of this service. Without a `token` it has the service's secret."""
        channel: Any = AsyncChannel(self)
        return AsyncCorrectionsClient(channel, token=self._token(token))

    def unary(self, method: str, request: Any, metadata: Mapping[str, str]) -> Any:
        """Answer a call. Raises Refusal."""
        with self._lock:
            self._admit(method, metadata)
            return self._answer(method, request)

    def server_stream(self, method: str, request: Any) -> Iterator[Any]:
        """Answer a call with a stream; None in it means that nothing more is there now."""
        self._admit(method, {})
        if method == "Watch":
            return self._watch(request)
        with self._lock:
            return iter(list(exporting.stream_export(self._store, request)))

    def client_stream(self, requests: Sequence[pb.UploadRunRequest]) -> pb.UploadRunResponse:
        """Answer `UploadRun`."""
        with self._lock:
            self._admit("UploadRun", {})
            return exporting.upload_run(self._store, requests)

    def both_streams(self, metadata: Mapping[str, str]) -> Callable[[pb.StreamIngestRequest], pb.StreamIngestResponse]:
        """Begin `StreamIngest`: return what answers each message."""
        self._admit("StreamIngest", metadata)
        done = 0

        def answer(request: pb.StreamIngestRequest) -> pb.StreamIngestResponse:
            nonlocal done
            with self._lock:
                response = deciding.ingest_message(self._store, request, done)
            done += len(request.items)
            return response

        return answer

    def _answer(self, method: str, request: Any) -> Any:
        if method in UNARY:
            return UNARY[method](self._store, request)
        if method == "GetCandidate":
            checks.candidate_id(request.id)
            item = self._store.find(request.id)
            (candidate,) = reading.served(self._store, [item], include_record=request.include_record)
            return pb.GetCandidateResponse(candidate=candidate)
        if method == "GetVersion":
            response = pb.GetVersionResponse(version=__version__, engine="memory")
            response.started_at.FromMicroseconds(int(self._started * 1_000_000))
            return response
        if method == "SetConfig":
            checks.directory(request.config.bench_results_dir)
            self._store.bench_results_dir = request.config.bench_results_dir
            return pb.SetConfigResponse(config=request.config)
        return pb.GetConfigResponse(config=pb.Config(bench_results_dir=self._store.bench_results_dir))

    def _watch(self, request: pb.WatchRequest) -> Iterator[pb.WatchResponse | None]:
        checks.not_negative(request, "since_revision")
        if request.since_revision and request.resume_token:
            raise invalid("since_revision", "must be left out together with resume_token")
        checks.filter(request.filter)
        bound = pb.WatchRequest(filter=request.filter, actions=sorted(set(request.actions)))
        bound.resume_token = request.resume_token
        reading.since(self._store, request.since_revision)
        at = reading.state_of(bound, "resume_token")
        if at is None:
            since = request.since_revision or self._store.revision
            at = sum(change.revision <= since for change in self._store.changes)
        return self._watched(request, bound, at)

    def _watched(self, request: pb.WatchRequest, bound: Any, at: int) -> Iterator[pb.WatchResponse | None]:
        yield self._stretch(request, bound, at, at)
        while True:
            end = min(len(self._store.changes), at + WATCHED)
            if end == at:
                yield None
                continue
            yield self._stretch(request, bound, at, end)
            at = end

    def _stretch(self, request: pb.WatchRequest, bound: Any, begin: int, end: int) -> pb.WatchResponse:
        """Return the changes from the `begin`-th to the `end`-th that the watch asks for."""
        with self._lock:
            changes = [self._change(request, index) for index in range(begin, end)]
            known = self._store.changes
            level = self._store.revision if end == len(known) else known[end].revision - 1
            shown = [change for change in changes if change is not None]
            return pb.WatchResponse(changes=shown, revision=level, resume_token=reading.token_of(bound, end))

    def _change(self, request: pb.WatchRequest, index: int) -> pb.Change | None:
        noted = self._store.changes[index]
        item = self._store.items[noted.id]
        if request.actions and CHANGE_ACTIONS[noted.action] not in request.actions:
            return None
        if not reading.passes(item.record, request.filter):
            return None
        change = change_message(noted)
        if request.include_candidates:
            (candidate,) = reading.served(self._store, [item], include_record=request.include_record)
            change.candidate.CopyFrom(candidate)
        return change

    def _admit(self, method: str, metadata: Mapping[str, str]) -> None:
        """Raise what the test asked for, or what is wrong with the token."""
        if self._failures.get(method):
            raise self._failures[method].popleft()
        if method not in WITH_TOKEN:
            return
        if self._secret is None:
            sentence = "The server has no ingestion secret; keep the correction and try again later."
            raise Refusal("INGESTION_NOT_CONFIGURED", sentence)
        kind, _, token = metadata.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            sentence = "The call has no token; send the metadata 'authorization: Bearer <token>'."
            raise Refusal("TOKEN_MISSING", sentence)
        if token != self._secret:
            raise Refusal("TOKEN_REFUSED", "The token is not valid; ask the server's operator for a valid one.")

    def _token(self, token: str | None) -> str:
        return (self._secret or "") if token is None else token
