"""A program that follows the store, as a process of its own: it writes each response to a log, and resumes from there.

    python -m tests.faults.watcher ADDRESS LOG REVISION

A line of the log is one response: its token, and its changes. Killed at any moment, it goes on behind the last line.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc


def responses_in(log: Path) -> list[dict[str, Any]]:
    """The lines that were written whole."""
    if not log.exists():
        return []
    whole, _, _ = log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def changes_in(log: Path) -> list[pb.Change]:
    """All changes of the log, in order."""
    return [pb.Change.FromString(base64.b64decode(text)) for line in responses_in(log) for text in line["changes"]]


def follow(address: str, log: Path, revision: int) -> None:
    """Write down every change after the revision, across the server's deaths."""
    drop_torn_line(log)
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
    stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel(address, options))
    with log.open("a") as file:
        while True:
            token = next((line["token"] for line in reversed(responses_in(log))), "")
            where = {"resume_token": token} if token else {"since_revision": revision}
            request = pb.WatchRequest(include_candidates=True, heartbeat_seconds=1, **where)
            try:
                for response in stub.Watch(request):
                    changes = [base64.b64encode(change.SerializeToString()).decode() for change in response.changes]
                    line = {"token": response.resume_token, "revision": response.revision, "changes": changes}
                    file.write(json.dumps(line) + "\n")
                    file.flush()
            except grpc.RpcError as error:
                refused: Any = error
                if refused.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
                time.sleep(0.1)


def drop_torn_line(log: Path) -> None:
    """Cut off what a kill left behind the last whole line. A reader of the log at this moment misses no whole line."""
    if log.exists():
        os.truncate(log, log.read_bytes().rfind(b"\n") + 1)


if __name__ == "__main__":
    follow(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
