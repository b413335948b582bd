"""Flags of `avocet-grpc` that name no place: nothing is made, and the code is that of wrong usage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
