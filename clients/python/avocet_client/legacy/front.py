"""The routes of the legacy interface, each of which makes one call of the service."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import grpc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import avocet_client.strict_json as strict_json
from avocet_client.aio_client import AsyncCorrectionsClient
from avocet_client.errors import CorrectionsError
from avocet_client.exports import AsyncExport
from avocet_client.legacy.answers import Answer, answer_of, attachment, error_answer, json_answer
from avocet_client.legacy.bodies import CONFIG, IMPORT, INGEST, SUBMIT, UNDO, read_body, read_number
from avocet_client.legacy.cors import Cors
from avocet_client.legacy.records import queue_page
from avocet_client.messages import message_dict
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.web.guard import Guard, is_sendable

logger = logging.getLogger("uvicorn.error")

PREFIXES = ("/api/corrections", "/api/sft")
OUTAGE_SECONDS = 10.0
"""How long a download waits for the service during an outage."""

Handler = Callable[[Request], Awaitable[Response]]


class Front:
    """Answers over one channel. A caller's own `Authorization` is passed on; others call with the front's `token`."""

    def __init__(self, channel: grpc.aio.Channel, token: str, guard: Guard) -> None:
        self._channel = channel
        self._token = token
        self._guard = guard

    def app(self) -> Cors:
        """Return the ASGI application."""
        routes: list[tuple[str, str, Handler]] = [
            ("GET", "/runs", self.runs),
            ("POST", "/import", self.import_run),
            ("GET", "/queue", self.queue),
            ("POST", "/submit", self.submit),
            ("POST", "/undo", self.undo),
            ("GET", "/export", self.export),
            ("GET", "/stats", self.stats),
            ("GET", "/config", self.config),
            ("POST", "/config", self.set_config),
            ("POST", "/ingest", self.ingest),
        ]
        routed = Starlette(
            routes=[
                Route(prefix + path, self._guarded(handler), methods=[method])
                for prefix in PREFIXES
                for method, path, handler in routes
            ],
            exception_handlers={HTTPException: _not_routed},
        )
        return Cors(routed, self._guard)

    async def runs(self, request: Request) -> Response:
        """List every benchmark run, in a bare array."""
        client, found, token = self._client(request), list[pb.Run](), ""
        while True:
            page = await client.list_runs(page_size=500, page_token=token)
            found += page.runs
            if not (token := page.next_page_token):
                break
        return json_answer(
            [
                {
                    "run_id": run.run_id,
                    "timestamp": run.timestamp,
                    "candidate_count": run.candidate_count,
                    "already_imported": run.already_imported,
                }
                for run in found
            ]
        )

    async def import_run(self, request: Request) -> Response:
        """Import a benchmark run."""
        body = await read_body(request, IMPORT)
        done = await self._client(request).import_run(body["run_id"])
        return json_answer({"imported": done.imported, "skipped": done.skipped + done.conflicts})

    async def queue(self, request: Request) -> Response:
        """Return a page of the raw records in review."""
        page, per_page = read_number(request, "page", 1), read_number(request, "per_page", 20)
        items, total = await queue_page(self._client(request), page, per_page)
        return json_answer({"items": items, "total": total, "page": page, "per_page": per_page})

    async def submit(self, request: Request) -> Response:
        """Store a decision."""
        body = await read_body(request, SUBMIT)
        await self._client(request).submit(
            body["id"],
            action=body["action"],
            corrected_response=body["corrected_response"] or "",
            failure_category=body["failure_category"],
        )
        return json_answer({"ok": True})

    async def undo(self, request: Request) -> Response:
        """Take a decision back."""
        body = await read_body(request, UNDO)
        await self._client(request).undo(body["id"])
        return json_answer({"ok": True})

    async def export(self, request: Request) -> Response:
        """Send every approved example as a download. A download that breaks off is a connection that breaks off."""
        examples = self._client(request).export(retry_for=OUTAGE_SECONDS)
        first = await anext(examples, None)
        name = f"sft_export_{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"
        lines = _lines(first, examples)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=attachment(name))

    async def stats(self, request: Request) -> Response:
        """Count the records."""
        counted = await self._client(request).stats()
        return json_answer(
            {
                "total": counted.total,
                "by_status": dict(counted.by_status),
                "by_model": dict(counted.by_model),
                "by_task_type": dict(counted.by_task_type),
                "export_ready": counted.export_ready,
            }
        )

    async def config(self, request: Request) -> Response:
        """Read the directory of benchmark runs."""
        config = await self._client(request).get_config()
        return json_answer({"bench_results_dir": config.bench_results_dir})

    async def set_config(self, request: Request) -> Response:
        """Change the directory of benchmark runs."""
        body = await read_body(request, CONFIG)
        await self._client(request).set_config(bench_results_dir=body["bench_results_dir"])
        return json_answer({"ok": True})

    async def ingest(self, request: Request) -> Response:
        """Store a correction. The front's own token is not used: a sender must have one."""
        body = await read_body(request, INGEST)
        client = AsyncCorrectionsClient(self._channel, token=_bearer(request) or "")
        stored = await client.ingest(**body)
        return json_answer({"ok": True, "id": stored.id})

    def _client(self, request: Request) -> AsyncCorrectionsClient:
        own = _bearer(request)
        return AsyncCorrectionsClient(self._channel, token=self._token if own is None else own)

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if why := self._guard.refusal(request.headers, changes=request.method == "POST"):
                return error_answer(403, f"Refused: {why}.")
            try:
                return await handler(request)
            except Answer as answer:
                return error_answer(answer.status, answer.detail)
            except CorrectionsError as error:
                return answer_of(error)
            except Exception as error:
                name = uuid.uuid4().hex
                logger.error("%s %s failed (%s): %r", request.method, request.url.path, name, error)
                return error_answer(500, f"Something unforeseen went wrong; the log names it by {name}.")

        return guarded


def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return error_answer(error.status_code, error.detail)


def _bearer(request: Request) -> str | None:
    """Return the caller's own token; "" for an `Authorization` without one, None for none at all.

    Raises Answer, 401, for one that cannot be passed on.
    """
    header = request.headers.get("authorization")
    if header is None:
        return None
    if not is_sendable(header):
        raise Answer(401, "The token is not valid: it is too long, or has characters that no token has.")
    return header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else ""


async def _lines(first: pb.TrainingExample | None, others: AsyncExport) -> AsyncIterator[str]:
    try:
        if first is not None:
            yield _line(first)
        async for example in others:
            yield _line(example)
    finally:
        others.close()


def _line(example: pb.TrainingExample) -> str:
    return strict_json.dumps({"messages": [message_dict(message) for message in example.messages]}) + "\n"
