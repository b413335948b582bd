"""What the commands do if their output cannot be written."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import BIN, Server

Done = subprocess.CompletedProcess[str]


def command(*arguments: str, file: Path | str | None = None, shell: str = "", **options: Any) -> Done:
    """Run the command; `shell` is a redirection of the shell's."""
    words = [str(BIN / "avocet-grpc"), *arguments, *([] if file is None else ["--tokens-file", str(file)])]
    if shell:
        words = ["sh", "-c", f'exec "$@" {shell}', "sh", *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(words, text=True, timeout=60, **streams)


def one_line(done: Done, code: int) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("avocet-grpc: "), done.stderr
    return done.stderr


@pytest.fixture(params=["a full disk", "a reader that has gone", "a file that may not grow"])
def no_room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Options of a process whose output cannot be written."""
    if request.param == "a full disk":
        with Path("/dev/full").open("w") as full:
            yield {"stdout": full}
    elif request.param == "a reader that has gone":
        reading, writing = os.pipe()
        os.close(reading)
        yield {"stdout": writing}
        os.close(writing)
    else:
        # The limit leaves room for a tokens file and a backup, which are smaller than what is in this file.
        report = tmp_path / "report"
        report.write_bytes(b"x" * (1 << 24))
        with report.open("a") as end:
            yield {"stdout": end, "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))}


def test_a_backup_is_made_also_if_nobody_can_be_told_on_stdout(
    stopped_server: Server, tmp_path: Path, no_room: dict[str, Any]
) -> None:
    stopped_server.start()
    assert stopped_server.stop() == 0
    to = tmp_path / "copy"
    said = one_line(command("backup", "--data-dir", str(stopped_server.data), "--to", str(to), **no_room), 0)
    assert "backed up " in said and "only this report could not be written: " in said
    assert command("verify", "--data-dir", str(to)).returncode == 0


def test_verify_keeps_its_exit_code_if_its_report_cannot_be_written(
    stopped_server: Server, no_room: dict[str, Any]
) -> None:
    stopped_server.start()
    assert stopped_server.stop() == 0
    ledger = stopped_server.data / ".avocet" / "ledger.db"
    sound = command("verify", "--data-dir", str(stopped_server.data), **no_room)
    assert "nothing is damaged; only this report could not be written: " in one_line(sound, 0)
    ledger.write_bytes(ledger.read_bytes()[:4096] + b"\xff" * (ledger.stat().st_size - 4096))
    assert command("verify", "--data-dir", str(stopped_server.data)).returncode == 6
    damaged = command("verify", "--data-dir", str(stopped_server.data), **no_room)
    assert "is damaged; only this report could not be written: " in one_line(damaged, 6)


def test_verify_of_an_empty_store_is_refused_and_does_not_look_at_the_files_instead(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "the store is not a valid URL" in one_line(command("verify", "--store", "", cwd=tmp_path), 1)
