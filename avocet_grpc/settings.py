"""What can be set from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one server needs to know; `avocet_grpc.cli` fills it from flags and the environment."""

    listen: str = "127.0.0.1:50051"
    """HOST:PORT to serve on; port 0 picks a free one."""

    data_dir: Path = Path("data")
    """Where the two shared files lie, and the private directory `.avocet`."""

    config_dir: Path = Path("config")
    """Where `label_tool.yaml` lies, shared with the legacy app."""

    ingestion_secret: str = field(default="", repr=False)
    """The token that Ingest and StreamIngest ask for; empty: they are refused as not configured."""

    grace_seconds: float = 10.0
    """How long calls under way may go on at a stop."""

    sync_seconds: float = 60.0
    """How long a stop may take to bring the shared files up to date."""
