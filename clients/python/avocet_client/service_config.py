"""Deadlines and retries, from the `service_config.json` that lies beside the protos for every client."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Mapping
from typing import Any

RETRIED_WRITES = ("Submit", "Undo", "Ingest", "Claim", "BatchSubmit", "CreateSnapshot")
"""Writes that carry a request id, which this client always sets: a retry stores once."""


def _shared() -> list[dict[str, Any]]:
    text = pkgutil.get_data("avocet_client.v1", "service_config.json")
    assert text is not None
    entries: list[dict[str, Any]] = json.loads(text)["methodConfig"]
    return entries


def _timeouts() -> dict[str, float]:
    return {name["method"]: float(entry["timeout"].rstrip("s")) for entry in _shared() for name in entry["name"]}


TIMEOUTS: Mapping[str, float] = _timeouts()
"""Each method's deadline in seconds, where a call states none."""


def channel_service_config() -> str:
    """Return the service config of this client's channels, as JSON.

    Beyond the shared one it retries the writes that carry a request id. It states no timeouts: gRPC would cut a
    call's own longer deadline down to them, so each call brings its deadline itself.
    """
    entries = [{key: value for key, value in entry.items() if key != "timeout"} for entry in _shared()]
    (policy,) = (entry["retryPolicy"] for entry in entries if "retryPolicy" in entry)
    kept = [_without(entry, RETRIED_WRITES) for entry in entries]
    service = entries[0]["name"][0]["service"]
    names = [{"service": service, "method": method} for method in RETRIED_WRITES]
    return json.dumps({"methodConfig": [*kept, {"name": names, "retryPolicy": policy}]})


def _without(entry: dict[str, Any], methods: tuple[str, ...]) -> dict[str, Any]:
    return entry | {"name": [name for name in entry["name"] if name["method"] not in methods]}
