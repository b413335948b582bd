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
from avocet_client.testing import adding, checks, deciding, exporting, importing, reading
from avocet_client.testing.aio_channel import AsyncChannel
from avocet_client.testing.channel import METHODS, Channel
from avocet_client.testing.refusals import CODES, Refusal
from avocet_client.testing.store import Clock, Store
from avocet_client.testing.watching import Watch
from avocet_client.v1 import corrections_pb2 as pb

SECRET = "a-secret"
UNARY: Mapping[str, Callable[[Store, Any], Any]] = {
    "ListRuns": importing.list_runs,
    "Import": importing.import_run,
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


class Service:
    """A corrections service in this process: no server, no port, no file.

    `candidates` are records as benchmark runs write them: dicts with an `id`. An approved one is exported too. They are
    there when the service begins, so no change of the history tells of them. `secret` is the token that `ingest` asks
    for, and the clients have it; with None, ingestion is not configured.

    Raises ValueError for what is not a record, as `add` does.
    """

    def __init__(self, candidates: Iterable[Mapping[str, Any]] = (), *, secret: str | None = SECRET) -> None:
        self._store = Store()
        self._secret = secret
        self._lock = threading.RLock()
        self._started = self._store.clock.now()
        self._failures: dict[str, deque[Refusal]] = {}
        for record in adding.checked(candidates):
            adding.take_in(self._store, record, noted=False)

    @property
    def clock(self) -> Clock:
        """The service's time: `service.clock.advance(600)` ends the leases of ten minutes."""
        return self._store.clock

    def add(self, *candidates: Mapping[str, Any]) -> None:
        """Add candidates, as another program that appends to the shared files does.

        An approved one goes to both files. Of an id that is known, the record stays what it is, and the further line
        counts among `duplicate_ids`; an approved one is exported in place of the one before.

        Raises ValueError for what is not a record: not a JSON object, or one without an id of 1 to 512 characters. Then
        none is added.
        """
        records = adding.checked(candidates)
        with self._lock:
            for record in records:
                adding.take_in(self._store, record)

    def add_run(self, run_id: str, candidates: Iterable[Mapping[str, Any] | str]) -> None:
        """Put a benchmark run there for `list_runs` and `import_run`; a string is a line as it is.

        Raises ValueError for a `run_id` that no run's directory can have, such as `../x`.
        """
        try:
            checks.run_id(run_id)
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        lines = [line if isinstance(line, str) else json.dumps(line) for line in candidates]
        self._store.runs[run_id] = [line.encode(errors="surrogatepass") for line in lines]

    def fail_next(self, method: str, error: type[CorrectionsError], **metadata: str) -> None:
        """Make the next call of a method, such as `Submit`, fail with this error. Nothing is then stored.

        Raises ValueError if the service has no such method, or no such error.
        """
        if method not in METHODS:
            raise ValueError(f"{method!r} is not a method of the service; there are {', '.join(METHODS)}")
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
            return Watch(self._store, self._lock, request).responses()
        with self._lock:
            return iter(list(exporting.stream_export(self._store, request)))

    def client_stream(self, requests: Sequence[pb.UploadRunRequest]) -> pb.UploadRunResponse:
        """Answer `UploadRun`."""
        with self._lock:
            self._admit("UploadRun", {})
            return importing.upload_run(self._store, requests)

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
            (candidate,) = reading.shown_alike(self._store, [item], include_record=request.include_record)
            return pb.GetCandidateResponse(candidate=candidate)
        if method == "GetVersion":
            response = pb.GetVersionResponse(version=__version__, engine="memory")
            response.started_at.FromMicroseconds(int(self._started * 1_000_000))
            return response
        if method == "SetConfig":
            checks.config(request)
            self._store.bench_results_dir = request.config.bench_results_dir
            return pb.SetConfigResponse(config=request.config)
        return pb.GetConfigResponse(config=pb.Config(bench_results_dir=self._store.bench_results_dir))

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
