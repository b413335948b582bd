"""Every command and snippet of the README is run, and its output is what the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_typing import mypy
from tests.support import BIN, ROOT, SECRET, Server

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RUN = "2025-03-01-120000"
ADDRESS = "127.0.0.1:50051"


def block(language: str, containing: str = "") -> str:
    (text,) = [text for kind, text in BLOCKS if kind == language and containing in text]
    return str(text)


def run(command: list[str], server: Server | None = None, cwd: Path = ROOT) -> str:
    environment = os.environ | {"AVOCET_INGESTION_SECRET": SECRET}
    if server is not None:
        environment |= {"AVOCET_ADDRESS": server.address, "HOME": str(server.directory)}
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def try_it(server: Server) -> str:
    script = block("sh").replace("$PWD/.venv/bin", str(BIN))
    return run(["bash", "-euo", "pipefail", "-c", script], server)


def test_the_readme_has_a_picture_commands_a_session_and_nothing_unknown() -> None:
    assert sorted(kind for kind, _ in BLOCKS) == ["", "python", "sh", "text", "text"]


@pytest.mark.parametrize("command", [*block("").splitlines(), "make demo", "make help"])
def test_each_make_command_of_the_readme_is_there(command: str) -> None:
    assert f"{command}\n" in README or f"`{command}`" in README
    program, target = command.split()
    assert program == "make"
    assert run(["make", "-n", "-B", target]).strip()


@pytest.mark.both_engines
def test_every_line_of_the_session_succeeds_with_the_runs_that_the_tree_has(server: Server) -> None:
    output = try_it(server)
    assert f"{RUN}" in output and "8 imported" in output and "8 of 8 in review" in output
    assert "The price rises by 25 percent." in output
    assert server.stats().export_ready == 1


@pytest.mark.both_engines
def test_the_python_snippet_runs_as_it_stands(server: Server) -> None:
    try_it(server)
    output = run([sys.executable, "-c", block("python").replace(ADDRESS, server.address)])
    assert "It rises by 25 percent." in output
    assert server.stats().export_ready == 2


def test_make_demo_prints_what_the_readme_shows() -> None:
    def steady(text: str) -> str:
        return re.sub(r"revision \d+", "revision N", re.sub(r"(127\.0\.0\.1:)\d+", r"\1PORT", text))

    assert steady(run([sys.executable, "-m", "tests.demo"])) == steady(block("text", "serving on"))


def test_each_link_of_the_pages_leads_to_a_file() -> None:
    pages = [
        ROOT / "README.md",
        ROOT / "clients/python/README.md",
        ROOT / "protos/README.md",
        ROOT / "examples/README.md",
    ]
    for page in (*pages, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_tells_to_install_from_an_index_what_nobody_publishes() -> None:
    pages = [*ROOT.glob("*.md"), ROOT / "protos/README.md", *ROOT.glob("clients/*/README.md"), *ROOT.glob("docs/*.md")]
    code = [*ROOT.glob("avocet_grpc/**/*.py"), *ROOT.glob("clients/python/avocet_client/**/*.py")]
    scripts = [path for path in (*ROOT.glob("deploy/**/*"), *ROOT.glob("examples/**/*.*")) if path.is_file()]
    for page in (*pages, *code, *scripts):
        text = page.read_text(errors="replace")
        assert not re.search(r"pip install [^\n]*['\" ]avocet[-_]", text), page
        assert not re.search(r"npm (install|i|add) ([^\n]* )?@?avocet", text), page


def test_the_snippet_passes_mypy_strict(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(block("python"))
    assert mypy(snippet, tmp_path) == set()
    snippet.write_text(block("python").replace('"correct"', '"corect"'))
    assert mypy(snippet, tmp_path) != set()
