"""A large export leaves the client's memory flat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support import ROOT, Server, record

FULL = os.environ.get("CLIENT") == "full"
EXAMPLES = 1_000_000 if FULL else 40_000
START_SECONDS = 600 if FULL else 60
LOOKS = 20
GROWTH = 16 << 20
"""Bytes that the memory may grow by after the first tenth; the export itself is at least twice as large."""


def write_approved(path: Path) -> None:
    line = json.dumps(record("ID", status="approved", corrected_response="better " * 40))
    with path.open("w") as file:
        file.writelines(line.replace('"ID"', f'"e{number:07d}"') + "\n" for number in range(EXAMPLES))


def test_a_large_export_leaves_the_memory_flat(tmp_path: Path) -> None:
    server = Server(tmp_path)
    write_approved(server.approved)
    assert server.approved.stat().st_size > 1.5 * GROWTH
    reader = textwrap.dedent(
        f"""
        import json
        from avocet_client import CorrectionsClient
        looks = []
        with CorrectionsClient({{address!r}}) as client:
            export = client.export()
            for example in export:
                if export.consumed % ({EXAMPLES} // {LOOKS}) == 0:
                    looks.append(int(open("/proc/self/statm").read().split()[1]) * 4096)
        print(json.dumps([export.consumed, looks]))
        """
    )
    try:
        server.start(within=START_SECONDS)
        command = [sys.executable, "-c", reader.format(address=server.address)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    finally:
        server.kill()
    count, looks = json.loads(done.stdout)
    assert (count, len(looks)) == (EXAMPLES, LOOKS)
    assert max(looks) - looks[LOOKS // 10] < GROWTH, looks
