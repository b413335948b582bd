"""A private directory that somebody else laid out is refused, and nothing in it is followed or changed."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from avocet_grpc.maintenance.private_directory import refuse_if_planted
from tests import wrong_files
from tests.operate.support import refused_start
from tests.support import COMMAND, Server

NOBODY = 65534
COMMANDS = {
    "verify": ["verify", "--data-dir", "DATA"],
    "rebuild": ["rebuild", "--yes", "--data-dir", "DATA"],
    "backup": ["backup", "--data-dir", "DATA", "--to", "NEW"],
    "store copy": ["store", "copy", "--from", "DATA", "--to", "postgres://nobody@127.0.0.1:1/none"],
}
"""What each command is called with."""


def refused(server: Server) -> str:
    server.environment = {"AVOCET_WORKERS": "1"}
    code, said = refused_start(server)
    assert code == 1 and said.count("\n") == 1, said
    assert said.startswith("avocet-grpc: ")
    return said


def test_a_private_directory_that_is_a_link_is_refused(stopped_server: Server, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (stopped_server.data / ".avocet").symlink_to(elsewhere)
    assert "is a symbolic link" in refused(stopped_server)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["ledger.db", "owner", "running", "mirror.db"])
def test_a_link_in_the_private_directory_is_refused_and_not_followed(
    stopped_server: Server, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    private = stopped_server.data / ".avocet"
    private.mkdir(mode=0o700)
    (private / name).symlink_to(victim)
    assert f"{private / name} is a symbolic link" in refused(stopped_server)
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_follows_a_link_in_the_private_directory(
    stopped_server: Server, tmp_path: Path, command: list[str]
) -> None:
    private, victim = stopped_server.data / ".avocet", tmp_path / "victim"
    victim.write_text("precious")
    stopped_server.start()
    assert stopped_server.stop() == 0
    (private / "owner").unlink(missing_ok=True)
    (private / "owner").symlink_to(victim)
    data = str(stopped_server.data)
    arguments = [{"DATA": data, "NEW": str(tmp_path / "new")}.get(word, word) for word in command]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    why = "is a symbolic link: remove it, since the service follows none there"
    assert done.stderr == f"avocet-grpc: {private / 'owner'} {why}\n"
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["examples", "examples/0", "examples/0/lock", "examples/0/rows", "examples/0/new/er"])
def test_a_link_at_any_depth_of_the_private_directory_is_refused_and_not_followed(
    stopped_server: Server, tmp_path: Path, name: str
) -> None:
    stopped_server.start()
    assert stopped_server.stop() == 0
    path, victim = stopped_server.data / ".avocet" / name, tmp_path / "victim"
    assert path.exists() or name.endswith("new/er")
    victim.mkdir() if path.is_dir() else victim.write_text("precious")
    wrong_files.take_away(path)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.symlink_to(victim)
    assert f"{path} is a symbolic link" in refused(stopped_server)
    assert not list(victim.iterdir()) if victim.is_dir() else victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["a foreign file", "a foreign directory", "a directory of everybody", "a FIFO"])
def test_what_others_put_at_any_depth_of_the_private_directory_is_refused(stopped_server: Server, kind: str) -> None:
    if "foreign" in kind and os.geteuid() != 0:
        pytest.skip("makes files of another user")
    stopped_server.start()
    assert stopped_server.stop() == 0
    path = stopped_server.data / ".avocet/examples/0/planted"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind.endswith("file"):
        path.write_bytes(b"")
    else:
        path.mkdir()
    if "foreign" in kind:
        os.chown(path, NOBODY, NOBODY)
    elif kind.endswith("everybody"):
        path.chmod(0o777)
    said = refused(stopped_server)
    whys = {"a FIFO": "is not a regular file", "a directory of everybody": "can be written by every user"}
    assert f"{path} {whys.get(kind, f'belongs to user {NOBODY}')}" in said
    wrong_files.take_away(path)
    stopped_server.start()
    assert stopped_server.stop() == 0


def test_a_look_at_a_directory_in_use_does_not_fail_for_what_is_removed_meanwhile(tmp_path: Path) -> None:
    inner = tmp_path / ".avocet/examples"
    inner.mkdir(parents=True)
    ended = threading.Event()

    def churn() -> None:
        while not ended.is_set():
            for number in range(50):
                (inner / f"{number}").mkdir()
            for number in range(50):
                (inner / f"{number}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(300):
            refuse_if_planted(tmp_path)
    finally:
        ended.set()
        thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")
def test_an_operator_who_is_somebody_else_verifies_a_directory_whose_parts_have_one_owner(
    stopped_server: Server,
) -> None:
    stopped_server.start()
    assert stopped_server.stop() == 0
    verify = [*COMMAND, "verify", "--data-dir", str(stopped_server.data)]
    for path in (stopped_server.data, *stopped_server.data.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    assert subprocess.run(verify, capture_output=True, timeout=100).returncode == 0
    os.chown(stopped_server.data, 0, 0)
    done = subprocess.run(verify, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and f"belongs to user {NOBODY}" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="makes files of another user")
@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_belongs_to_another_user_is_refused(stopped_server: Server, what: str) -> None:
    private = stopped_server.data / ".avocet"
    private.mkdir(mode=0o700)
    planted = private
    if what == "file":
        planted = private / "ledger.db"
        planted.write_bytes(b"")
    os.chown(planted, NOBODY, NOBODY)
    assert f"{planted} belongs to user {NOBODY}" in refused(stopped_server)


def test_a_directory_that_every_user_may_write_is_refused(stopped_server: Server) -> None:
    private = stopped_server.data / ".avocet"
    private.mkdir()
    private.chmod(0o777)
    assert "can be written by every user" in refused(stopped_server)


def test_a_pipe_in_place_of_the_ledger_is_refused(stopped_server: Server) -> None:
    private = stopped_server.data / ".avocet"
    private.mkdir(mode=0o700)
    os.mkfifo(private / "ledger.db")
    assert "is not a regular file" in refused(stopped_server)
