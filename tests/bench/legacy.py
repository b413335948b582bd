"""What users have today, plainly: HTTP, and each call reads the whole file and, to change it, writes it again.

`python -m tests.bench.legacy DATA_DIR` serves the four calls that the table compares.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Legacy:
    """The algorithm: read all, change one, write all."""

    def __init__(self, data_dir: Path) -> None:
        self._candidates = data_dir / "sft_candidates.jsonl"
        self._approved = data_dir / "sft_approved.jsonl"

    def submit(self, asked: Record) -> Record:
        records = _read(self._candidates)
        record = next(r for r in records if r["id"] == asked["id"])
        record |= {"status": "approved", "corrected_response": asked["corrected_response"]}
        _write(self._candidates, records)
        with self._approved.open("a") as file:
            file.write(json.dumps(record) + "\n")
        return record

    def queue(self, asked: Record) -> Record:
        waiting = [r for r in _read(self._candidates) if r["status"] == "needs_review"]
        start = (asked["page"] - 1) * asked["per_page"]
        return {"items": waiting[start : start + asked["per_page"]], "total": len(waiting)}

    def stats(self, asked: Record) -> Record:
        records = _read(self._candidates)
        counts = {key: Counter(r.get(key) for r in records) for key in ("status", "model_name", "task_type", "source")}
        return counts | {"total": len(records), "export_ready": len(_read(self._approved))}

    def export(self) -> Iterator[bytes]:
        for record in _read(self._approved):
            messages = [*record["prompt_messages"], {"role": "assistant", "content": record["corrected_response"]}]
            yield json.dumps({"id": record["id"], "messages": messages}).encode() + b"\n"


def _read(path: Path) -> list[Record]:
    with path.open() as file:
        return [json.loads(line) for line in file if line.strip()]


def _write(path: Path, records: list[Record]) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")
    os.replace(fresh, path)


class Handler(BaseHTTPRequestHandler):
    """POST /submit, /queue and /stats with a JSON object; POST /export answers lines."""

    protocol_version = "HTTP/1.1"
    legacy: Legacy

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.path == "/export":
            body = b"".join(self.legacy.export())
        else:
            body = json.dumps(getattr(self.legacy, self.path.strip("/"))(asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    """Serve until the process is ended."""
    Handler.legacy = Legacy(Path(sys.argv[1]))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"listening on 127.0.0.1:{server.server_port}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
