"""Who may read a file stays as it is over a rewrite: owner, mode, access list and attributes."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from avocet_grpc.durable import ACCESS_LIST, replace_content
from tests.faults.support import need
from tests.support import Server, eventually, record, write_records

THEIRS, ANOTHER = 1234, 4321
"""Ids of users that run nothing here."""
NOBODYS = 0xFFFFFFFF


def access_list(*, group: int, mask: int) -> bytes:
    """An access list with which user THEIRS may read and write, as Linux stores it."""
    entries = [(0x01, 6, NOBODYS), (0x02, 6, THEIRS), (0x04, group, NOBODYS), (0x10, mask, NOBODYS), (0x20, 0, NOBODYS)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


LIST = access_list(group=0, mask=6)


def protect(path: Path) -> None:
    os.setxattr(path, ACCESS_LIST, LIST)
    os.setxattr(path, "user.label", b"kept")
    assert path.stat().st_mode & 0o777 == 0o660


def is_protected(path: Path) -> bool:
    return (os.getxattr(path, ACCESS_LIST), os.getxattr(path, "user.label")) == (LIST, b"kept")


def test_a_changed_config_file_keeps_its_access_list_and_attributes(stopped_server: Server) -> None:
    path = stopped_server.start().config / "label_tool.yaml"
    path.write_text("db:\n  password: secret\n")
    protect(path)
    stopped_server.set_runs_directory()
    assert "bench_results_dir" in path.read_text()
    assert is_protected(path)


def test_shared_files_keep_their_access_list_and_attributes_over_a_compaction(stopped_server: Server) -> None:
    server = stopped_server
    write_records(server.candidates, [record(f"c{n}") for n in range(20)])
    write_records(server.approved, [])
    protect(server.candidates)
    protect(server.approved)
    before = server.candidates.stat().st_ino
    server.start()
    for n in range(10):
        server.correct(f"c{n}")
    assert server.stop() == 0
    assert server.candidates.stat().st_ino != before
    assert is_protected(server.candidates) and is_protected(server.approved)


def test_a_list_that_new_files_of_a_directory_get_is_not_given_to_a_file_that_has_none(stopped_server: Server) -> None:
    server = stopped_server.start()
    path = server.config / "label_tool.yaml"
    path.write_text("db:\n  password: secret\n")
    path.chmod(0o660)
    os.setxattr(server.config, "system.posix_acl_default", access_list(group=0, mask=7))
    server.set_runs_directory()
    assert path.stat().st_mode & 0o777 == 0o660
    assert os.listxattr(path) == []


def test_a_file_system_without_access_lists_gives_the_group_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("before")
    protect(path)

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    replace_content(path, b"after")
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_bytes() == b"after"


def test_a_file_of_another_user_is_named_with_what_to_do_and_is_caught_up_with(stopped_server: Server) -> None:
    need("root", "setpriv")
    server = stopped_server
    dropped = "-chown,-fowner,-lease"
    server.prefix = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
    write_records(server.candidates, [record("c1")])
    server.start()
    os.chown(server.candidates, ANOTHER, ANOTHER)
    server.candidates.chmod(0o666)
    server.correct("c1")
    told = f"belongs to user {ANOTHER} and group {ANOTHER}, and the service is not allowed to make a file of theirs"
    eventually(lambda: told in server.log)
    os.chown(server.candidates, os.geteuid(), os.getegid())
    eventually(lambda: '"approved"' in server.candidates.read_text())
    assert server.stop() == 0
