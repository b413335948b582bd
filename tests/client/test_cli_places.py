"""Files, addresses, tokens, texts and screens that the command line cannot use."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.client.test_cli import APPROVED, Shell, served, shell
from tests.support import BIN

__all__ = ["served", "shell"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kind", ["a directory", "a pipe", "a link to a pipe", "a device", "no name"])
def test_an_export_replaces_nothing_but_a_file_and_says_so_first(shell: Shell, kind: str, strict: bool) -> None:
    out = Path("") if kind == "no name" else shell.home / "out"
    match kind:
        case "a directory":
            out.mkdir()
        case "a pipe":
            os.mkfifo(out)
        case "a link to a pipe":
            os.mkfifo(shell.home / "pipe")
            out.symlink_to("pipe")
        case "a device":
            try:
                os.mknod(out, stat.S_IFCHR | 0o600, os.makedev(1, 3))
            except PermissionError:
                pytest.skip("only root can make a device")
    before = {path.name: path.lstat().st_mode for path in shell.home.iterdir()}
    flags = ("--format", "openai", "--strict") if strict else ()
    done = shell.run("export", "--out", str(out) if kind != "no name" else "", *flags, code=2)
    assert "and would be replaced; write to another path" in done.stderr and done.stderr.count("\n") == 1
    assert {path.name: path.lstat().st_mode for path in shell.home.iterdir()} == before


def test_an_export_to_a_link_writes_the_file_that_it_leads_to(shell: Shell) -> None:
    (shell.home / "elsewhere").mkdir()
    target, link = shell.home / "elsewhere" / "rows.jsonl", shell.home / "latest.jsonl"
    for _ in range(2):
        # The first time it leads nowhere yet.
        if not link.is_symlink():
            link.symlink_to("elsewhere/rows.jsonl")
        assert f"in {target}" in shell.run("export", "--out", str(link)).stdout
        assert link.is_symlink() and len(target.read_text().splitlines()) >= APPROVED
    assert [path.name for path in target.parent.iterdir()] == ["rows.jsonl"]


def test_a_watch_says_that_it_cannot_keep_its_state_before_it_prints_a_change(shell: Shell) -> None:
    (shell.home / "directory").mkdir()
    for state in ("missing/state.json", "directory"):
        done = shell.run("watch", "--limit", "1", "--state", str(shell.home / state), code=2)
        assert done.stdout == "" and f"/{state.partition('/')[0]}" in done.stderr


@pytest.mark.parametrize("token", ["\u00fc", "one\ntwo", "tab\there"])
def test_a_token_that_no_header_can_hold_is_a_wrong_setting(shell: Shell, token: str) -> None:
    shell.variables["AVOCET_TOKEN"] = token
    done = shell.run("stats", code=2)
    assert "the token has a character that no header can hold" in done.stderr and token not in done.stderr


@pytest.mark.parametrize("address", ["", " ", "127.0.0.1:99999", "dns:///localhost:65536"])
def test_an_address_that_nothing_can_have_is_a_wrong_setting(shell: Shell, address: str) -> None:
    done = shell.run("stats", "--address", address, code=2)
    assert done.stderr.startswith("avocet: the address ")


def test_a_file_without_certificates_is_named_and_not_the_service(shell: Shell) -> None:
    junk = shell.home / "junk.pem"
    junk.write_text("junk\n")
    done = shell.run("stats", "--ca", str(junk), code=2)
    assert done.stderr.strip() == f"avocet: {junk} holds no CA certificates in PEM"
    done = shell.run("stats", "--cert", str(junk), "--key", str(junk), code=2)
    assert done.stderr.strip() == f"avocet: {junk} holds no certificate in PEM"


@pytest.mark.parametrize("arguments", [("upload",), ("batch",), ("stats", "--ca")], ids=" ".join)
def test_a_file_that_is_not_there_is_told_without_the_number_of_the_error(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    done = shell.run(*arguments, "nope", code=2)
    assert done.stderr.strip() == "avocet: nope: No such file or directory"


def test_a_settings_file_that_is_not_text_is_named(shell: Shell) -> None:
    settings = shell.home / ".config/avocet/client.toml"
    settings.parent.mkdir(parents=True)
    settings.write_bytes(b'token = "\xff"\n')
    assert f"{settings} is not UTF-8 text at byte 10" in shell.run("stats", code=2).stderr


def test_a_text_that_is_not_utf_8_is_told_in_plain_words(shell: Shell) -> None:
    assert r"'\udcff' cannot be sent as text" in shell.run("show", os.fsdecode(b"\xff"), code=2).stderr
    line = json.dumps({"source": "s", "task_type": "t", "prompt": "\ud800", "correction": "c"})
    assert r"'\ud800' cannot be sent as text" in shell.run("ingest", "-", code=1, stdin=line).stderr
    line = json.dumps({"id": "a\ud800", "action": "flag"})
    assert r"'a\ud800' cannot be sent as text" in shell.run("batch", "-", code=1, stdin=line).stderr


@pytest.mark.parametrize("shard", ["0/0", "4/4", "0/99999999999", "-1/2", "1", "\u0661/\u0662"])
def test_a_shard_that_there_is_not_is_told(shell: Shell, shard: str) -> None:
    assert "--shard is I/N, from 0/N to N-1/N" in shell.run("export", f"--shard={shard}", code=2).stderr


def test_flags_that_the_lines_of_a_file_state_themselves_are_refused_beside_it(shell: Shell) -> None:
    file = shell.home / "lines.jsonl"
    file.write_text("")
    done = shell.run("ingest", str(file), "--source", "zzz", "--label", "L", code=2)
    assert "leave --source, --label out" in done.stderr


@pytest.mark.parametrize("arguments", [("stats",), ("queue",), ("--help",)])
def test_a_screen_that_says_that_it_has_no_columns_is_written_to(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.variables["COLUMNS"] = "0"
    assert len(shell.run(*arguments).stdout) > 100


@pytest.mark.parametrize("arguments", [("--help",), ("stats", "--help"), ("--version",), ("stats",)])
def test_a_place_that_takes_no_output_is_told_in_one_line(shell: Shell, arguments: tuple[str, ...]) -> None:
    environment = os.environ | shell.variables | {"HOME": str(shell.home)}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [BIN / "avocet", *arguments], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert "No space left on device" in done.stderr and done.stderr.count("\n") == 1
