"""`avocet-grpc token`: nothing is revoked, lost or let in that the operator did not mean."""

from __future__ import annotations

import datetime
import errno
import hashlib
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from avocet_grpc.edge.auth import token_file
from avocet_grpc.edge.auth.policy import Role
from avocet_grpc.edge.auth.tokens import read_tokens
from avocet_grpc.foreign_files import Unreadable
from tests.operate.support import new_token, refused_start
from tests.operate.test_tokens import reads
from tests.support import BIN, Server, eventually

Done = subprocess.CompletedProcess[str]
DIGEST = "ab" * 32
ISSUES = (("new", "bo", "--role", "reader"), ("rotate", "bo"))


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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    for name in ("bo", "bo", "al"):
        new_token(path, name, "reader")
    return path


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


def test_an_empty_id_revokes_nothing(file: Path) -> None:
    before = file.read_bytes()
    assert "the id is empty" in one_line(command("token", "revoke", "bo", "--id", "", file=file), 1)
    assert "no token of" in one_line(command("token", "revoke", "", file=file), 1)
    assert file.read_bytes() == before


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue[0])
def test_a_token_that_cannot_be_printed_is_not_in_the_file(
    file: Path, issue: tuple[str, ...], no_room: dict[str, Any]
) -> None:
    before = file.read_bytes()
    said = one_line(command("token", *issue, file=file, **no_room), 1)
    assert "the token could not be printed, so nothing was changed: " in said
    assert file.read_bytes() == before
    assert not [path for path in file.parent.iterdir() if path.name.startswith(".")]


def test_no_token_is_made_without_a_stdout(file: Path) -> None:
    before = file.read_bytes()
    for issue in ISSUES:
        assert "stdout is closed" in one_line(command("token", *issue, file=file, shell=">&-"), 1)
    assert "stdout is closed" in one_line(command("token", "new", "bo", "--role", "reader", shell=">&-"), 1)
    fresh = file.parent / "fresh.yaml"
    one_line(command("token", "new", "bo", "--role", "reader", file=fresh, shell=">&-"), 1)
    assert file.read_bytes() == before and not fresh.exists()


def test_a_token_without_a_file_that_cannot_be_printed_ends_with_one_line(no_room: dict[str, Any]) -> None:
    assert "could not be printed" in one_line(command("token", "new", "bo", "--role", "reader", **no_room), 1)


def test_the_token_alone_is_on_stdout_if_stderr_is_closed_or_full(file: Path) -> None:
    for issue in (("new", "cy", "--role", "reader"), ("rotate", "bo")):
        for shell in ("2>&-", "2>/dev/full"):
            done = command("token", *issue, file=file, shell=shell)
            assert done.returncode == 0 and len(done.stdout.split()) == 1
            assert hashlib.sha256(done.stdout.strip().encode()).hexdigest() in file.read_text()
    assert len(command("token", "new", "cy", "--role", "reader", shell="2>&-").stdout.split()) == 1


def test_a_rename_that_fails_after_the_token_was_printed_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, printed = file.read_bytes(), list[str]()

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(Unreadable, match="the token that was printed is not in it"):
        token_file.add(file, "bo", [Role.READER], None, printed.append)
    assert file.read_bytes() == before and len(printed) == 1


def test_tokens_are_revoked_also_if_nobody_can_be_told_on_stdout(file: Path, no_room: dict[str, Any]) -> None:
    said = one_line(command("token", "revoke", "bo", file=file, **no_room), 0)
    assert "revoked 2 tokens of bo; only this report could not be written: " in said
    assert [token.name for token in read_tokens(file)] == ["al"]
    said = one_line(command("token", "revoke", "al", file=file, shell=">&-"), 0)
    assert "revoked 1 token of al; only this report could not be written: stdout is closed" in said


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


def test_a_list_that_cannot_be_written_ends_with_one_line(file: Path) -> None:
    for shell, why in ((">/dev/full", "No space left on device"), (">&-", "stdout is closed")):
        said = one_line(command("token", "list", file=file, shell=shell), 1)
        assert said.strip() == f"avocet-grpc: the tokens could not be listed: {why}"


def test_an_error_of_the_operating_system_has_no_number_and_names_the_file(file: Path) -> None:
    nowhere = file.parent / "nowhere/tokens.yaml"
    said = one_line(command("token", "new", "bo", "--role", "reader", file=nowhere), 1)
    assert "Errno" not in said and said.strip().endswith(f"{nowhere.parent}: No such file or directory")


@contextmanager
def made(path: Path, kind: str) -> Iterator[str]:
    """A path of this kind, with the mode that such things have."""
    if kind == "a FIFO":
        os.mkfifo(path, 0o644)
    elif kind == "a directory":
        path.mkdir(0o755)
    yield {"a device": "/dev/null"}.get(kind, str(path))


@pytest.mark.parametrize(
    "kind, why",
    [("a directory", "is a directory"), ("a FIFO", "not a regular file"), ("a device", "not a regular file")],
)
def test_what_is_not_a_file_is_refused_as_such_and_no_chmod_is_advised(
    stopped_server: Server, tmp_path: Path, kind: str, why: str
) -> None:
    with made(tmp_path / "thing", kind) as thing:
        assert why in one_line(command("token", "list", file=thing), 1)
        for variable in ("AVOCET_TOKENS_FILE", "AVOCET_INGESTION_SECRET_FILE"):
            stopped_server.environment = {variable: thing}
            code, said = refused_start(stopped_server)
            assert code == 1 and why in said and "chmod" not in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "list", "--tokens-file", ""),
        ("token", "new", "bo", "--role", "reader", "--tokens-file", ""),
        *(
            ("serve", "--listen", "127.0.0.1:1x", option, "")
            for option in ("--tokens-file", "--ingestion-secret-file", "--data-dir", "--config-dir", "--tls-cert")
        ),
        ("verify", "--data-dir", ""),
        ("backup", "--to", ""),
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused_and_is_not_the_current_directory(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "data").mkdir()
    done = command(*arguments, cwd=tmp_path)
    # The parser of the command line wraps its messages in a frame.
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "the path is empty" in said and arguments[-2] in said
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_verify_of_an_empty_store_is_refused_and_does_not_look_at_the_files_instead(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = command("verify", "--store", "", cwd=tmp_path)
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == 2 and "must be 'sqlite' or postgres://USER@HOST[,HOST]/DATABASE" in said


FLOW = """# ours: [a, b]
[
  # the first, {0}
  {{name: a, roles: [reader], sha256: "{0}"}},  # its laptop, at home
]
# the end
"""
FORMS = {
    "flow style": '[{{name: a, roles: [reader], sha256: "{0}"}}]\n',
    "flow style over lines": FLOW,
    "flow style with an end": '# ours\n[{{expires: 2999-01-01, name: a, roles: [reader], sha256: "{0}"}}, ] # end\n',
    "flow style without a last newline": '[{{name: a, roles: [reader], sha256: "{0}"}}]',
    "flow style with an umlaut": '# \u00fc\U0001f600\n[{{name: a, roles: [reader], sha256: "{0}"}}]',
    "indented": "# ours\n  - name: a\n    # the first\n    sha256: '{0}'\n    roles: [reader]\n",
    "a document with an end": "---\n- name: a\n  sha256: '{0}'\n  roles: [reader]\n...\n",
    "JSON": '[{{"name": "a", "sha256": "{0}", "roles": ["reader"]}}]',
}


@pytest.mark.parametrize("form", FORMS)
def test_a_tokens_file_of_any_form_takes_new_entries_and_keeps_the_old_ones_and_comments(
    tmp_path: Path, form: str
) -> None:
    file = tmp_path / "tokens.yaml"
    file.write_text(FORMS[form].format(DIGEST))
    file.chmod(0o600)
    (first,) = read_tokens(file)
    other, newer = (
        command("token", "new", "b", "--role", "admin", file=file),
        command("token", "rotate", "a", file=file),
    )
    assert (other.returncode, newer.returncode) == (0, 0), other.stderr + newer.stderr
    old, b, a = read_tokens(file)
    assert (old.name, old.sha256, old.roles) == (first.name, first.sha256, first.roles) and old.expires is not None
    for token, done in ((b, other), (a, newer)):
        assert token.sha256 == hashlib.sha256(done.stdout.strip().encode()).digest()
    assert (b.name, a.name) == ("b", "a")
    assert command("token", "revoke", "b", file=file).returncode == 0
    assert read_tokens(file) == (old, a)
    assert re.findall("#.*", file.read_text()) == re.findall("#.*", FORMS[form].format(DIGEST))
    assert command("token", "revoke", "a", "--id", DIGEST, file=file).returncode == 0
    assert read_tokens(file) == (a,)


def test_a_form_that_cannot_be_edited_is_left_as_it_is_and_the_way_out_is_said(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    # YAML 1.1 takes the last of two equal keys; the editor takes none.
    entry = "  - name: a\n    name: {}\n    roles: [reader]\n    sha256: '{}'\n"
    text = entry.format("b", DIGEST) + entry.format("c", "cd" * 32)
    file.write_text(text)
    file.chmod(0o600)
    for issue in (("new", "c", "--role", "reader"), ("rotate", "b"), ("revoke", "b")):
        assert "edit it by hand" in one_line(command("token", *issue, file=file), 1)
    assert file.read_text() == text


def test_a_token_that_would_be_refused_at_once_is_not_made(file: Path) -> None:
    before, today = file.read_bytes(), datetime.datetime.now(datetime.UTC).date()
    for issue in ISSUES:
        for day in ("2020-01-01", today.isoformat()):
            done = command("token", *issue, "--expires", day, file=file)
            assert done.returncode == 2 and done.stdout == "" and "would be refused at once" in done.stderr
    assert command("token", "rotate", "bo", "--grace-hours", "nan", file=file).returncode == 2
    assert file.read_bytes() == before
    later = (today + datetime.timedelta(days=2)).isoformat()
    assert command("token", "new", "cy", "--role", "reader", "--expires", later, file=file).returncode == 0
    assert yaml.safe_load(file.read_text())[-1]["expires"].isoformat() == later


def test_no_new_token_has_the_name_of_the_ingestion_secret(file: Path) -> None:
    before = file.read_bytes()
    for place in (None, file):
        done = command("token", "new", "ingestion-secret", "--role", "ingest", file=place)
        assert "is the name of the ingestion secret" in one_line(done, 1) and done.stdout == ""
    assert file.read_bytes() == before


def test_an_old_token_with_the_name_of_the_ingestion_secret_goes_on_and_the_log_warns(stopped_server: Server) -> None:
    file = stopped_server.directory / "tokens.yaml"
    token = new_token(file, "other", "reader")
    file.write_text(file.read_text().replace("other", "ingestion-secret"))
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server = stopped_server.start()
    assert reads(server, token)()
    eventually(lambda: "a token has the name of the ingestion secret" in server.log)
    assert "ingestion-secret" in command("token", "list", file=file).stdout
    assert "is the name of the ingestion secret" in one_line(
        command("token", "rotate", "ingestion-secret", file=file), 1
    )
    assert command("token", "revoke", "ingestion-secret", file=file).returncode == 0


def test_the_tokens_file_may_lie_in_the_data_directory_of_a_running_server(stopped_server: Server) -> None:
    server, file = stopped_server, stopped_server.data / "tokens.yaml"
    assert command("token", "new", "amy", "--role", "admin", file=file).returncode == 0
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    for words in (("new", "bo", "--role", "reader"), ("rotate", "bo"), ("revoke", "amy")):
        assert command("token", *words, file=file).returncode == 0
    assert {token.name for token in read_tokens(file)} == {"bo"}


def test_a_token_is_revoked_although_the_ingestion_secret_cannot_be_read(stopped_server: Server) -> None:
    server, file, secret = stopped_server, stopped_server.directory / "t.yaml", stopped_server.directory / "secret"
    mallory = new_token(file, "mallory", "reader")
    new_token(file, "amy", "reader")
    secret.write_text("a secret\n")
    secret.chmod(0o600)
    server.environment = {"AVOCET_TOKENS_FILE": str(file), "AVOCET_INGESTION_SECRET_FILE": str(secret)}
    server.start()
    assert reads(server, mallory)()
    secret.chmod(0o644)
    assert command("token", "revoke", "mallory", file=file).returncode == 0
    eventually(lambda: not reads(server, mallory)())
