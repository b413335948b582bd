"""Every snippet of the client's README is run; those that need torch by `make test-training`."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client import CorrectionsClient
from avocet_client.cli.review import wording
from avocet_client.cli.session import EXIT_CODES
from avocet_client.cli.settings import NAMES
from avocet_client.errors import BY_REASON
from avocet_client.service_config import TIMEOUTS
from tests.client.readme import APPROVED, README, SNIPPETS, Snippet, serve, snippets
from tests.client.terminal import Terminal
from tests.client.test_typing import mypy
from tests.support import BIN, Server

PYTHON = [snippet for snippet in snippets("python") if not snippet.needs_training]
INSTALL, SERVE, SHELL, REVIEW, TEAM = snippets("sh")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = serve(tmp_path_factory.mktemp("readme"))
    yield server
    server.kill()


def run(command: list[str], cwd: Path) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(cwd)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_has_snippets_of_known_kinds_alone() -> None:
    assert {snippet.language for snippet in SNIPPETS} == {"python", "sh", "toml"}
    assert (len(snippets("python")), len(PYTHON), len(snippets("sh"))) == (16, 13, 5)


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda snippet: f"snippet-{snippet.number}")
def test_a_python_snippet_runs_as_it_stands(snippet: Snippet, served: Server, tmp_path: Path) -> None:
    output = run([sys.executable, "-c", snippet.adapted(served)], tmp_path)
    assert "keep it" not in output
    if "checkpoint.json" in snippet.text:
        assert run([sys.executable, "-c", snippet.adapted(served)], tmp_path) == output
        assert '"consumed": 10' in (tmp_path / "checkpoint.json").read_text()
    if "split_dataset_by_node" in snippet.text:
        parts = ast.literal_eval(output)
        assert sum(parts) >= APPROVED and all(parts)


def test_every_line_of_the_shell_session_succeeds(served: Server, tmp_path: Path) -> None:
    script = SHELL.adapted(served)
    output = run(["bash", "-euo", "pipefail", "-c", script], tmp_path)
    assert "SERVING" in output and "8 imported" in output and '"export_ready"' in output
    assert (tmp_path / "shard-0.jsonl").exists()
    for command in (
        "health",
        "config",
        "runs",
        "import",
        "queue",
        "show",
        "submit",
        "undo",
        "ingest",
        "export",
        "stats",
    ):
        assert f"avocet {command}" in script


def test_every_line_of_the_teams_session_succeeds_and_says_what_it_promises(served: Server, tmp_path: Path) -> None:
    script = TEAM.adapted(served)
    output = run(["bash", "-euo", "pipefail", "-c", script], tmp_path)
    for told in (
        "2 imported",
        "2 known already",
        "2 would be decided",
        "2 decided",
        "correct",
        f"engine {served.engine_name}",
    ):
        assert told in output
    assert 'corrected_response: - -> "The air."' in output
    printed = [json.loads(line) for line in output.splitlines() if line.startswith('{"')]
    assert [change["action"] for change in printed] == ["import", "import"]
    assert (tmp_path / "sft.jsonl").read_text().count("\n") >= APPROVED
    commands = ("list", "history", "watch", "snapshot", "upload", "batch", "version")
    assert all(f"avocet {command}" in script for command in commands)


def test_the_review_of_the_readme_runs_and_its_table_has_every_key(served: Server, tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "xterm"}
    terminal = Terminal(["bash", "-euc", REVIEW.adapted(served)], environment | {"XDG_STATE_HOME": str(tmp_path)})
    try:
        terminal.read_until("[q]uit")
        terminal.press("?")
        terminal.read_until("[q]uit")
        terminal.press("q")
        terminal.read_until("nothing was decided")
        assert terminal.end() == 0
    finally:
        terminal.close()
    keys = set(re.findall(r"\[(.)\]", wording.KEYS)) | {"x"}
    rows = re.findall(r"^\| (`.*?`) \|", README.partition("### Review in the terminal")[2], re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(.)`", row)} == keys
    assert all(re.search(rf"^{re.escape(key)}  ", wording.HELP, re.MULTILINE) for key in keys - {"?"})


def test_the_snippets_have_a_server_of_their_own_and_write_little(tmp_path: Path) -> None:
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", README)) == {"50052"}
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    command = ["bash", "-c", "exec env " + SERVE.text.strip().replace(":50052", ":0")]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        said = next(line for line in server.stderr or () if line.startswith("listening on "))
        with CorrectionsClient(said.split()[-1], token="a-secret") as client:
            for text in (snippets("python")[0].text, snippets("python")[2].text):
                run([sys.executable, "-c", text.replace("127.0.0.1:50052", said.split()[-1])], tmp_path)
            assert client.stats().total == 3
    finally:
        server.terminate()
        assert server.wait(timeout=30) == 0
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("tmp.")] == []


@pytest.mark.parametrize("snippet", PYTHON, ids=lambda snippet: f"snippet-{snippet.number}")
def test_a_python_snippet_passes_mypy_strict(snippet: Snippet, tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    # The library has no types of its own.
    file.write_text(
        re.sub(r"^(from datasets\..*)$", r"\1  # type: ignore[import-untyped]", snippet.text, flags=re.MULTILINE)
    )
    assert mypy(file, tmp_path) == set()


def test_the_settings_file_has_known_settings() -> None:
    (snippet,) = snippets("toml")
    assert set(tomllib.loads(snippet.text)) <= set(NAMES)
    assert all(f"AVOCET_{name.upper()}" in README for name in NAMES)


def test_the_tables_are_complete() -> None:
    assert all(f"`{kind.__name__}`" in README for kind in BY_REASON.values())
    coded = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    stated = " ".join(EXIT_CODES.split()).removeprefix("Exit codes: ").removesuffix(".")
    assert stated == "; ".join(f"{code} {meaning}" for code, meaning in coded.items())
    for seconds in {TIMEOUTS["Stats"], TIMEOUTS["Submit"], TIMEOUTS["Import"], TIMEOUTS["StreamExport"]}:
        assert f"{seconds:,.0f} for" in README
