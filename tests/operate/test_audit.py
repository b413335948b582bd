"""The audit of dependencies says what it knows, and never takes silence for a clean bill."""

from __future__ import annotations

import re
import sys

import pytest

from tests.audit import main, report
from tests.support import ROOT

CLEAN = {"name": "a", "version": "1", "vulns": []}
HOLED = {"name": "b", "version": "2", "vulns": [{"id": "CVE-2025-4565"}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


def test_a_hole_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([CLEAN, HOLED, UNKNOWN]) == 1
    said = capsys.readouterr().out
    assert "b 2: CVE-2025-4565" in said and "2 packages looked up, 1 with known holes, 1 not found" in said


def test_where_nothing_could_be_looked_up_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([UNKNOWN, UNKNOWN]) == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    assert main(sys.executable) == 0
    assert "NOT AUDITED" in capsys.readouterr().out


def test_each_hole_that_a_floor_closes_is_named_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text() + (ROOT / "clients/python/pyproject.toml").read_text()
    for floor in ("setuptools>=78.1.1", "protobuf>=6.33.5", "PyYAML>=6", "grpcio>=1.76", "h2>=4.3.0"):
        assert re.search(rf"# CVE-20\d\d-\d+.*\n.*{re.escape(floor)}", text), floor
