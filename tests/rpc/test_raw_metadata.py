"""Metadata that gRPC's own Python client refuses to send comes through real grpcurl."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import SECRET, Server

GRPCURL = Path(sys.executable).parent / "grpcurl"
ITEM = '{"source": "kiwi", "task_type": "qa", "prompt": "p", "correction": "c"}'


@pytest.mark.parametrize("value", ["Bearer sécret", f"Bearer {SECRET}é", "Bearer \u2603"])
def test_a_token_that_is_not_ascii_is_refused_and_stores_nothing(quiet_server: Server, value: str) -> None:
    before = quiet_server.stats()
    command = [str(GRPCURL), "-plaintext", "-H", f"authorization: {value}", "-d", ITEM, quiet_server.address]
    done = subprocess.run(
        [*command, "avocet.corrections.v1.CorrectionsService/Ingest"], capture_output=True, text=True, timeout=30
    )
    assert "PermissionDenied" in done.stderr
    assert "TOKEN_REFUSED" in done.stderr
    assert quiet_server.stats() == before
