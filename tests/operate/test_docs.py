"""Every command of the operator's pages is run, in the order of the page, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.cli.app import app
from avocet_grpc.edge.auth.policy import POLICIES
from avocet_grpc.settings import LIMITS, Limits
from tests.operate.test_deploy import alerts
from tests.support import BIN, ROOT

DOCS = ROOT / "docs"


def blocks(page: str) -> list[tuple[str, str]]:
    """The page's fenced blocks: language and text."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def free_port() -> str:
    """One of those that no other test beside this one is given by the system."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return str(port)


def session(page: str, directory: Path, environment: dict[str, str] | None = None, **swaps: str) -> str:
    """Run the page's shell blocks as one session below `directory`; gives all that it printed."""
    script = "\n".join(text for language, text in blocks(page) if language == "sh")
    for port in ("50051", "9464"):
        script = script.replace(port, free_port())
    script = script.replace("$PWD/.venv/bin", str(BIN))
    for old, new in swaps.items():
        assert old in script
        script = script.replace(old, new)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AVOCET_")}
    inherited |= {"PATH": f"{BIN}:{inherited['PATH']}"} | (environment or {})
    command = ["bash", "-c", f"set -meuo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}"]
    with (directory / "output.txt").open("w+") as output:
        shell = subprocess.Popen(
            command,
            cwd=directory,
            env=inherited | (environment or {}),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=240)
        finally:
            os.killpg(shell.pid, signal.SIGKILL) if shell.poll() is None else None
        output.seek(0)
        said = output.read()
    assert code == 0, said[-3_000:]
    assert "Traceback" not in said
    return said


@pytest.mark.timeout(300)
def test_the_grpcurl_session_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "tmp").mkdir()
    before = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout
    said = session("grpcurl.md", tmp_path, {"TMPDIR": str(tmp_path / "tmp")})
    after = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout
    assert after == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["examples", "output.txt", "tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []
    for reason in ("CANDIDATE_NOT_FOUND", "NOT_IN_REVIEW", "INVALID_FIELD", "TOKEN_MISSING", "TOKEN_REFUSED"):
        assert reason in said
    assert "ended with 69" in said and "ended with 73" in said
    assert said.count('"status": "SERVING"') >= 5
    assert '"looking-for-this"' in said
    assert "grpc.channelz.v1.Channelz" in said and "idsSha256" in said.replace("ids_sha256", "idsSha256")


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_no_command_of_a_page_waits_without_an_end(page: str) -> None:
    for language, text in blocks(page):
        if language == "sh":
            assert not re.search(r"\b(until|while)\b", text), text


@pytest.mark.parametrize("page", ["operations.md", "grpcurl.md"])
def test_waiting_for_the_server_ends_with_an_error_if_the_tool_is_missing(page: str, tmp_path: Path) -> None:
    script = "\n".join(text for language, text in blocks(page) if language == "sh")
    (function,) = re.findall(r"^ready\(\) \{.*\}$", script, re.MULTILINE)
    for name in ("seq", "sleep"):
        (tmp_path / name).write_text("#!/bin/sh\n" + ("echo 1 2 3\n" if name == "seq" else ""))
        (tmp_path / name).chmod(0o755)
    bash = shutil.which("bash") or "bash"
    command = [bash, "-euo", "pipefail", "-c", f"{function}\nready\necho went on"]
    done = subprocess.run(command, env={"PATH": str(tmp_path), "A": ""}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "went on" not in done.stdout
    assert "the server does not answer" in done.stderr


def test_the_grpcurl_page_shows_every_method() -> None:
    page = (DOCS / "grpcurl.md").read_text()
    for method in pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods_by_name:
        assert f"$S/{method}" in page


@pytest.mark.timeout(300)
def test_the_operators_session_runs_as_it_stands(tmp_path: Path) -> None:
    target = tmp_path / "opt"
    # What the packages need is there already: installing it again would only take time.
    dependencies = {"PIP_NO_DEPS": "1", "PYTHONPATH": sysconfig.get_paths()["purelib"]}
    for name in ("clients", "avocet_grpc", "pyproject.toml", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    said = session("operations.md", tmp_path, dependencies, **{"/opt/avocet": str(target)})
    assert said.count("SERVING") >= 3
    assert (
        said.count("stored as") == 2
        and "revoked mallory" in said
        and re.search(r"kiwi  [0-9a-f]{12}  ingest  until", said)
    )
    assert said.count("the ledger is sound") == 2
    assert "avocet_calls_total" in said and "avocet_build_info" in said
    assert (target / "bin/avocet-grpc").exists()
    tokens = yaml.safe_load((tmp_path / "tokens.yaml").read_text())
    assert [token["name"] for token in tokens] == ["alice", "kiwi", "kiwi"]
    assert b"kiwi" in (tmp_path / "data/sft_approved.jsonl").read_bytes()


@pytest.mark.timeout(300)
def test_the_session_of_the_browsers_page_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    swaps: dict[str, Any] = {"8080": free_port()}
    said = session("browser.md", tmp_path, **swaps)
    assert "<title>Corrections</title>" in said
    assert '"total": ' in said and '"detail": ' in said and '{"ok": true, "id": "' in said
    assert '{"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}' in said


def test_each_limit_has_its_default_and_its_meaning_on_the_page() -> None:
    operations = (DOCS / "operations.md").read_text()
    tested = "".join((ROOT / "tests/operate" / name).read_text() for name in ("test_limits.py", "test_shares.py"))
    for name in LIMITS:
        assert f"| `{name}` | {getattr(Limits(), name):,} |" in operations
        assert f"{name}=" in tested


def test_each_flag_is_on_the_page_with_its_variable_and_its_default() -> None:
    operations = (DOCS / "operations.md").read_text()
    rows = re.findall(r"^\| `(--[a-z-]+)` \| `(AVOCET_[A-Z_]+)` \| (.+) \|$", operations, re.MULTILINE)
    commands: Any = typer.main.get_command(app)
    flags = [one for one in commands.commands["serve"].params if one.envvar]
    assert {(flag, variable) for flag, variable, _ in rows} == {(one.opts[0], one.envvar) for one in flags}
    shown = {flag: default for flag, _, default in rows}
    for one in flags:
        if one.default:
            assert shown[one.opts[0]].startswith(f"`{getattr(one.default, 'value', one.default)}`"), one.opts[0]
        else:
            assert "`" not in shown[one.opts[0]], one.opts[0]


def test_each_role_is_on_the_page_with_what_it_opens() -> None:
    operations = (DOCS / "operations.md").read_text()
    for method, role in POLICIES.items():
        service, _, name = method[1:].partition("/")
        if role is not None and service == "avocet.corrections.v1.CorrectionsService":
            (row,) = re.findall(rf"^\| `{role.value}` \|(.*)$", operations, re.MULTILINE)
            assert f"`{name}`" in row


def test_each_alert_has_its_section_and_each_section_its_alert() -> None:
    sections = re.findall(r"^### (Avocet\w+)$", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in alerts()]
