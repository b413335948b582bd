"""Flags of `avocet-grpc` that name no place: nothing is made, and the code is that of wrong usage."""

from __future__ import annotations

import subprocess
from dataclasses import fields, replace
from pathlib import Path

import pytest

from avocet_grpc.cli.app import LIMITS_HELP, _limits
from avocet_grpc.settings import Limits
from tests.support import BIN


def unframed(message: str) -> str:
    """The message without the frame, which may break its line."""
    return " ".join(message.replace("│", " ").split())


@pytest.mark.parametrize("name", ["serve", "verify", "rebuild", "backup"])
def test_an_empty_name_is_no_directory(tmp_path: Path, name: str) -> None:
    command = [str(BIN / "avocet-grpc"), name, "--data-dir", "", *(["--to", "x"] if name == "backup" else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "the path is empty" in unframed(done.stderr) and not list(tmp_path.iterdir())
    if name == "serve":
        # It says that when it starts, in one line.
        return
    (tmp_path / "file").touch()
    command[command.index("")] = "file"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "'file' is not a directory" in unframed(done.stderr)


@pytest.mark.parametrize(
    "flags, code",
    [(("--keep-history", "nan"), 2), (("--keep-revisions", "inf"), 2), (("--metrics-listen", "a..b:9464"), 1)],
)
def test_a_flag_that_means_nothing_is_refused_in_words(tmp_path: Path, flags: tuple[str, ...], code: int) -> None:
    command = [str(BIN / "avocet-grpc"), "serve", "--listen", "127.0.0.1:0", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert "Traceback" not in done.stderr and done.stderr.strip()


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "--store", "mysql://x"),
        ("verify", "--store", "mysql://x"),
        ("migrate", "--store", "sqlite"),
        ("keeper", "status", "--store", "db1/avocet"),
        ("keeper", "release", "--store", "sqlite"),
        ("keeper", "take-over", "--store", "mysql://x", "--data-dir", "data"),
        ("store", "copy", "--from", ".", "--to", "mysql://x"),
    ],
    ids=" ".join,
)
def test_a_store_that_there_is_not_is_a_wrong_flag_of_every_command(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(BIN / "avocet-grpc"), *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "postgres://USER@HOST[,HOST]/DATABASE" in unframed(done.stderr)
    assert not list(tmp_path.iterdir())


def test_the_help_of_the_limits_has_their_defaults_as_the_flag_takes_them() -> None:
    others = replace(Limits(), **{limit.name: 1 for limit in fields(Limits)})
    assert _limits(LIMITS_HELP.split(", ")) == Limits() != others
