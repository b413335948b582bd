"""Both type checkers accept the right examples, and refuse each wrong line and no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import BIN

EXAMPLES = Path(__file__).parent / "typing"
pytestmark = pytest.mark.timeout(300)
PYRIGHT = BIN.parent / "npm" / "node_modules" / ".bin" / "pyright"


def mypy(file: Path, tmp_path: Path) -> set[int]:
    """The lines that mypy finds an error in, with the package as it is installed and nothing else of the project."""
    settings = tmp_path / "mypy.ini"
    settings.write_text("[mypy]\n")
    command = [
        str(BIN / "mypy"),
        "--strict",
        "--config-file",
        str(settings),
        "--cache-dir",
        str(tmp_path.parent / "mypy"),
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=EXAMPLES)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {int(line) for line in re.findall(rf"{file.name}:(\d+): error", done.stdout)}


def pyright(file: Path, tmp_path: Path) -> set[int]:
    """The lines that pyright finds an error in."""
    if not PYRIGHT.exists():
        pytest.skip("pyright is not there: 'make test' installs it where there is npm")
    settings = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "include": [file.name],
    }
    shutil.copy(file, tmp_path)
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [str(PYRIGHT), "-p", str(tmp_path), "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    problems = [each for each in found["generalDiagnostics"] if each["severity"] == "error"]
    return {each["range"]["start"]["line"] + 1 for each in problems}


@pytest.mark.parametrize("check", [mypy, pyright])
def test_the_right_examples_are_accepted(check, tmp_path: Path) -> None:
    assert check(EXAMPLES / "accepted.py", tmp_path) == set()


@pytest.mark.parametrize("check", [mypy, pyright])
def test_each_wrong_line_is_refused_and_no_other(check, tmp_path: Path) -> None:
    file = EXAMPLES / "refused.py"
    wrong = {number for number, line in enumerate(file.read_text().splitlines(), 1) if line.endswith("# refused")}
    assert len(wrong) > 15
    assert check(file, tmp_path) == wrong
