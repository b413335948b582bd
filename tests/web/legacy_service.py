"""The legacy service, written again from what it is known to answer: whole files read and written at each request."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
CATEGORIES = {
    "scoring_artifact",
    "style_violation",
    "partial_answer",
    "wrong_answer",
    "format_error",
    "hallucination",
}
STATUS = {"correct": "approved", "discard": "discarded", "flag": "model_rejected"}


class Refused(Exception):
    """A status code that is not 200."""

    def __init__(self, status: int) -> None:
        self.status = status


class LegacyService:
    """Answers one request at a time on the two files of `directory`."""

    def __init__(self, directory: Path, secret: str) -> None:
        self.candidates = directory / "sft_candidates.jsonl"
        self.approved = directory / "sft_approved.jsonl"
        self.runs_directory = ""
        self.secret = secret

    def answer(self, method: str, path: str, query: Json, body: Any, authorization: str) -> Any:
        """Return the body of the answer: JSON, or a list of lines for the export. Raises Refused."""
        name = path.removeprefix("/api/corrections").removeprefix("/api/sft").strip("/")
        handler = getattr(self, f"{method.lower()}_{name}", None)
        if handler is None or name == path.strip("/"):
            raise Refused(404)
        if method == "GET":
            return handler(query)
        if not isinstance(body, dict):
            raise Refused(422)
        return handler(body, authorization) if name == "ingest" else handler(body)

    def get_queue(self, query: Json) -> Json:
        try:
            page, per_page = int(query.get("page", "1")), int(query.get("per_page", "20"))
        except ValueError:
            raise Refused(422) from None
        waiting = [record for record in _read(self.candidates) if record.get("status") == "needs_review"]
        shown = waiting[(page - 1) * per_page :][:per_page]
        return {"items": shown, "total": len(waiting), "page": page, "per_page": per_page}

    def get_stats(self, query: Json) -> Json:
        found = _read(self.candidates)
        counts = {
            f"by_{name}": dict(Counter(record.get(key, "unknown") for record in found))
            for name, key in (("status", "status"), ("model", "model_name"), ("task_type", "task_type"))
        }
        return {"total": len(found), **counts, "export_ready": len(self.get_export(query))}

    def get_export(self, query: Json) -> list[str]:
        ready = [
            record
            for record in _read(self.approved)
            if record.get("status") == "approved" and str(record.get("corrected_response") or "").strip()
        ]
        return [
            json.dumps(
                {
                    "messages": [
                        *record.get("prompt_messages", []),
                        {"role": "assistant", "content": record["corrected_response"]},
                    ]
                }
            )
            for record in ready
        ]

    def get_runs(self, query: Json) -> list[Json]:
        known = {record.get("benchmark_run_id") for record in _read(self.candidates)}
        return [
            {
                "run_id": path.name,
                "timestamp": path.name,
                "candidate_count": len(_read(path / "sft_candidates.jsonl")),
                "already_imported": path.name in known,
            }
            for path in self._runs()
        ]

    def get_config(self, query: Json) -> Json:
        return {"bench_results_dir": self.runs_directory}

    def post_config(self, body: Json) -> Json:
        self.runs_directory = _text(body, "bench_results_dir")
        return {"ok": True}

    def post_import(self, body: Json) -> Json:
        wanted = _text(body, "run_id")
        run = next((path for path in self._runs() if path.name == wanted), None)
        if run is None:
            raise Refused(404)
        known = {record["id"] for record in _read(self.candidates)}
        found = _read(run / "sft_candidates.jsonl")
        new = [record for record in found if record["id"] not in known]
        _write(self.candidates, _read(self.candidates) + new)
        return {"imported": len(new), "skipped": len(found) - len(new)}

    def post_submit(self, body: Json) -> Json:
        id, action = _text(body, "id"), _text(body, "action")
        correction, category = _optional(body, "corrected_response"), _optional(body, "failure_category")
        if action not in STATUS or (category is not None and category not in CATEGORIES):
            raise Refused(422)
        if action == "correct" and not (correction or "").strip():
            raise Refused(422)
        found, record = self._find(id)
        if record.get("status") != "needs_review":
            raise Refused(409)
        record["status"] = STATUS[action]
        if action == "correct":
            record |= {"corrected_response": correction, "failure_category": category}
            _write(self.approved, [*_read(self.approved), record])
        _write(self.candidates, found)
        return {"ok": True}

    def post_undo(self, body: Json) -> Json:
        found, record = self._find(_text(body, "id"))
        if record.get("status") == "needs_review":
            raise Refused(409)
        record |= {"status": "needs_review", "corrected_response": None}
        _write(self.candidates, found)
        _write(self.approved, [each for each in _read(self.approved) if each["id"] != record["id"]])
        return {"ok": True}

    def post_ingest(self, body: Json, authorization: str) -> Json:
        given = {name: _text(body, name) for name in ("source", "task_type", "prompt", "response", "correction")}
        label = _optional(body, "label")
        if not self.secret:
            raise Refused(503)
        if not authorization.startswith("Bearer "):
            raise Refused(401)
        if authorization != f"Bearer {self.secret}":
            raise Refused(403)
        record = {
            "id": str(uuid.uuid4()),
            "source": given["source"],
            "task_type": given["task_type"],
            "status": "approved",
            "prompt_messages": [{"role": "user", "content": given["prompt"]}],
            "model_response": given["response"],
            "corrected_response": given["correction"],
            "label": label,
            "timestamp": datetime.now(UTC).isoformat(),
            "benchmark_run_id": None,
        }
        for path in (self.candidates, self.approved):
            _write(path, [*_read(path), record])
        return {"ok": True, "id": record["id"]}

    def _runs(self) -> list[Path]:
        if not self.runs_directory:
            return []
        found = [path.parent for path in Path(self.runs_directory).glob("*/sft_candidates.jsonl")]
        return sorted(found, reverse=True)

    def _find(self, id: str) -> tuple[list[Json], Json]:
        found = _read(self.candidates)
        record = next((record for record in found if record["id"] == id), None)
        if record is None:
            raise Refused(404)
        return found, record


@contextmanager
def served(service: LegacyService) -> Iterator[str]:
    """The service on a free port of loopback; gives `127.0.0.1:PORT`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            try:
                self._answer(json.loads(sent))
            except ValueError:
                self._send(422, "application/json", json.dumps({"detail": "no JSON"}))

        def _answer(self, body: Any) -> None:
            asked = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
            try:
                made = service.answer(self.command, asked.path, query, body, self.headers.get("authorization", ""))
            except Refused as refused:
                self._send(refused.status, "application/json", json.dumps({"detail": "refused"}))
                return
            if asked.path.endswith("/export"):
                self._send(200, "application/x-ndjson", "".join(line + "\n" for line in made))
            else:
                self._send(200, "application/json", json.dumps(made))

        def _send(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _read(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().split("\n") if line.strip()] if path.exists() else []


def _write(path: Path, records: list[Json]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise Refused(422)
    return value


def _optional(body: Json, name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)
