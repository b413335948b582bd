"""docs/contributing.md is true: its commands work, and it names every place for tests and every file of an RPC."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import BIN, ROOT

PAGE = (ROOT / "docs/contributing.md").read_text()
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
WALK = PAGE.partition("## Add an RPC")[2].partition("Some RPCs need more")[0]
GENERATED = (
    "clients/python/avocet_client/v1/",
    "clients/typescript/src/gen/",
    "clients/python/avocet_client/web/page/",
)
FOLLOWED = re.compile(r"ReleaseClaims\b|\brelease_claims\b")
REGISTERED = re.compile(
    r"(?:rpc|def) ReleaseClaims\b|[/\"`]ReleaseClaims\b|def release_claims\b|^ +\"release_claims\"", re.M
)
"""Where a method is stated, and not only called."""


def tracked() -> list[str]:
    listing = ["git", "ls-files", "-co", "--exclude-standard"]
    return subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def run(command: list[str], directory: Path = ROOT) -> str:
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_commands_of_these_kinds_alone() -> None:
    assert {line.split()[0] for line in COMMANDS} == {"make", ".venv/bin/python", "python3", "ls"}


@pytest.mark.parametrize("command", sorted({line for line in COMMANDS if line.startswith("make ")}))
def test_each_make_command_is_there_and_its_tests_too(command: str) -> None:
    program, target, *settings = command.split()
    assert run([program, "-n", "-B", target, *settings]).strip()
    for setting in settings:
        name, _, value = setting.partition("=")
        assert name != "TESTS" or list((ROOT / value).glob("test_*.py")), value


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith(".venv/bin/python -m pytest")])
def test_each_run_of_some_tests_works_as_it_stands(command: str) -> None:
    arguments = command.split()[1:]
    # Those of this very page would start themselves.
    assert "test_contributing" not in command
    assert " passed" in run([sys.executable, *arguments, "-p", "no:cacheprovider"])


@pytest.mark.timeout(300)
def test_the_wheels_are_built_as_the_page_says(tmp_path: Path) -> None:
    for name in tracked():
        if (ROOT / name).is_file() and name.startswith(("avocet_grpc/", "clients/python/", "pyproject", "README")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    script = "\n".join(line for line in COMMANDS if line.startswith(("python3", "ls")))
    made = run(["bash", "-euo", "pipefail", "-c", script], tmp_path).split()
    assert sorted(name.partition("-")[0] for name in made) == ["avocet_client", "avocet_grpc"]


def test_each_place_for_tests_exists_and_each_directory_of_tests_is_in_the_table() -> None:
    table = PAGE.partition("## Where does my test go?")[2].partition("##")[0]
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)`", table)
    assert [name for name in named if not (ROOT / name).exists()] == []
    holding = {str(Path(name).parent) for name in tracked() if re.fullmatch(r"tests/.+/test_\w+\.py", name)}
    left_out = {place for place in holding - {"tests/mirror"} if f"`{place}/`" not in table}
    assert left_out == set()


def test_the_walk_names_each_file_that_the_followed_rpc_needed_and_no_file_that_is_not_there() -> None:
    named = re.findall(r"`([\w-]+/[\w./-]+)`", WALK)
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []
    elsewhere = ("docs/contributing.md", "CHANGELOG.md", "tests/")
    for name in tracked():
        if name.startswith((*GENERATED, *elsewhere)) or not name.endswith((".py", ".proto", ".json", ".md", ".ts")):
            continue
        if (ROOT / name).is_file() and REGISTERED.search((ROOT / name).read_text()):
            is_named = name in named or any(one.endswith("/") and name.startswith(one) for one in named)
            assert is_named, f"{name} states ReleaseClaims and is not in the walk"


def test_each_step_of_the_walk_has_the_rpc_or_what_it_rests_on() -> None:
    rests_on = {
        "avocet_grpc/core/claims.py": "def release(",
        "avocet_grpc/core/ports/claims.py": "def end(",
        "avocet_grpc/store/sql/claims.py": "def end(",
        "avocet_grpc/store/sql/waiting_claims.py": "def end(",
        "avocet_grpc/edge/claims.py": "ReleaseClaimsResponse",
    }
    for name in re.findall(r"`([\w-]+/[\w./-]+)`", WALK):
        if (ROOT / name).is_file():
            content = (ROOT / name).read_text()
            assert rests_on.get(name, "") in content and (name in rests_on or FOLLOWED.search(content)), name


def test_the_other_files_that_the_page_names_exist() -> None:
    rest = PAGE.partition("Some RPCs need more")[2]
    for name in re.findall(r"`((?:avocet_grpc|clients|protos|tests)/[\w./-]+)`", rest):
        assert (ROOT / name).exists(), name
