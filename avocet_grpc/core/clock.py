"""The time as the records carry it."""

from __future__ import annotations

from datetime import UTC, datetime


def now_iso() -> str:
    """Now, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()
