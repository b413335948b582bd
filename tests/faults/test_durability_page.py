"""docs/durability.md names tests that exist, leaves no fault test out, and its commands run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import BIN, ROOT, Server

PAGE = (ROOT / "docs" / "durability.md").read_text()
NAMED = set(re.findall(r"`(test_\w+)`", PAGE))


def functions_of(path: Path) -> set[str]:
    return set(re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE))


def test_each_test_that_the_page_names_exists() -> None:
    there = set().union(*(functions_of(path) for path in (ROOT / "tests").rglob("test_*.py")))
    assert NAMED - there == set()
    assert len(NAMED) >= 40


def test_each_file_of_fault_tests_is_named_by_the_page() -> None:
    files = [path for path in (ROOT / "tests" / "faults").glob("test_*.py") if path != Path(__file__)]
    assert [path.name for path in files if not NAMED & functions_of(path)] == []


@pytest.mark.parametrize("line", re.findall(r"^```sh\n(.*?)\n```$", PAGE, re.MULTILINE))
def test_each_command_of_the_page_runs(stopped_server: Server, line: str) -> None:
    program, *arguments = line.replace("./data", str(stopped_server.data)).split()
    done = subprocess.run([str(BIN / program), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
