"""Every command of the README is run, at a server on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import BIN, ROOT, SECRET, Server, make_run

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUN = "2025-03-01-120000"


def block(language: str) -> str:
    (text,) = [text for kind, text in BLOCKS if kind == language]
    return str(text)


@pytest.fixture
def session(server: Server) -> Server:
    """A server with the README's run in its bench directory."""
    make_run(server.runs, RUN, count=6)
    return server


def adapted(text: str, server: Server) -> str:
    """The text with this server's address and directory in place of the README's."""
    assert "127.0.0.1:50051" in text and "/srv/bench" in text
    return text.replace("127.0.0.1:50051", server.address).replace("/srv/bench", str(server.runs))


def run(command: list[str], cwd: Path = ROOT) -> str:
    environment = os.environ | {"AVOCET_INGESTION_SECRET": SECRET}
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_has_commands_a_grpcurl_and_a_python_session_and_nothing_unknown() -> None:
    assert sorted(kind for kind, _ in BLOCKS) == ["", "python", "sh"]


@pytest.mark.parametrize("command", [*block("").splitlines(), "make setup", "make demo"])
def test_each_make_command_of_the_readme_is_there(command: str) -> None:
    assert f"{command}\n" in README or f"`{command}`" in README
    program, target = command.split()
    assert program == "make"
    assert run(["make", "-n", "-B", target]).strip()


def test_every_line_of_the_grpcurl_session_succeeds(session: Server) -> None:
    script = adapted(block("sh"), session)
    assert script.count("grpcurl ") == 9
    output = run(["bash", "-euo", "pipefail", "-c", script.replace("$PWD/.venv/bin", str(BIN))])
    output = output.replace("_", "").lower()  # grpcurl writes a key as runId or run_id, by its version
    assert f'"runid": "{RUN}"' in output
    assert '"imported": "6"' in output
    assert '"candidatestatusapproved"' in output
    assert '"created": true' in output
    assert '"idssha256"' in output
    assert session.stats().export_ready == 1


def test_the_python_session_runs_as_it_stands(session: Server) -> None:
    output = run([sys.executable, "-c", adapted(block("python"), session)])
    assert f"{RUN} 6" in output
    assert session.stats().export_ready == 1


def test_the_demo_runs_to_its_end() -> None:
    output = run([sys.executable, "-m", "tests.demo"])
    assert "needs_review" in output
    assert output.rstrip().endswith("0")
