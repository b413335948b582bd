"""The corrections service in memory, for the unit tests of its callers: no server, no port, no file.

    from avocet_client import testing

    def test_it() -> None:
        with testing.client(candidates=[{"id": "a", "status": "needs_review"}]) as client:
            assert client.submit("a", action="discard").revision

`Service` has a clock to set, runs to import and errors to ask for; its `client()` and `async_client()` are the real
clients. One suite of tests runs on this service and on the real server.

What it leaves out: edits and deletions by other writers of the shared files (`Service.add` appends to them), malformed
lines of these files, how a line is spelled (`record_json` is as Python's `json` writes it), limits of size beyond those
of one request, retention, roles of tokens, retries of the channel, gRPC's checks of metadata, deadlines of calls with
one answer, and prompts that are neither a list of messages with `role` nor a string: those are served as `prompt_json`,
and not exported.

Reading order: `lines` and `forms` (what a record is, and what it means), `store` (what is held), `adding` (what others
append), `records` (the wire's messages), `checks` (fields), `tokens`, `deciding`, `reading`, `exporting`, `importing`,
`watching` (the methods), `service`, `channel` and `aio_channel` (calls without a network).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from avocet_client.aio_client import AsyncCorrectionsClient
from avocet_client.client import CorrectionsClient
from avocet_client.testing.service import SECRET, Service
from avocet_client.testing.store import Clock

__all__ = ["SECRET", "Clock", "Service", "async_client", "client"]


def client(candidates: Iterable[Mapping[str, Any]] = ()) -> CorrectionsClient:
    """Return a client of a new in-memory service that holds these candidates."""
    return Service(candidates).client()


def async_client(candidates: Iterable[Mapping[str, Any]] = ()) -> AsyncCorrectionsClient:
    """Return an async client of a new in-memory service that holds these candidates."""
    return Service(candidates).async_client()
