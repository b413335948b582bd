"""`avocet-grpc verify` tells what differs and what will be done; `avocet-grpc rebuild` rebuilds the ledger."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.store.sqlite import floor
from avocet_grpc.telemetry import failpoints
from tests.faults.acks import Acks
from tests.faults.check import check, files_agree, settle
from tests.faults.load import Load
from tests.faults.test_damaged_ledger import flip, ledger_of, refusal, worked
from tests.limited import limited
from tests.support import BIN, Server, eventually, lines, record

__all__ = ["worked"]


def command(server: Server, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    whole = [str(BIN / "avocet-grpc"), name, "--data-dir", str(server.data), *flags]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def verified(server: Server, code: int = 0) -> str:
    done = command(server, "verify")
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    return done.stdout


def test_verify_finds_nothing_beside_a_running_server_nor_after_a_clean_stop(worked: Server, acks: Acks) -> None:
    before = ledger_of(worked).read_bytes()
    assert verified(worked).splitlines() == [
        "the service is stopped",
        "the ledger is sound, and both files agree with it",
    ]
    assert ledger_of(worked).read_bytes() == before
    with Load(acks, worked.start().address, pause_s=0.01) as load:
        load.wait_for(50)
    eventually(lambda: "both files agree" in verified(worked))
    assert "the service is running" in verified(worked)
    check(acks, worked)


def test_verify_removes_nothing_that_a_running_service_is_building(worked: Server) -> None:
    worked.start()
    half_built = worked.candidates.with_name(f".{worked.candidates.name}.1-1.new")
    half_built.write_bytes(b"half of a replacement")
    verified(worked)
    assert half_built.read_bytes() == b"half of a replacement"


def test_verify_after_a_crash_tells_what_waits_for_the_files_and_the_next_start_brings_it(
    worked: Server, acks: Acks
) -> None:
    worked.environment = {failpoints.VARIABLE: "append.before:kill:4"}
    worked.start()
    with Load(acks, worked.address, threads=2) as load:
        assert worked.ended() == -9
    assert load.acknowledged >= 1
    told = verified(worked)
    assert "the service is not stopped cleanly" in told
    assert "acknowledged and not in the file yet: will be" in told
    worked.environment = {}
    check(acks, worked.start(), asked=1_000)
    eventually(lambda: "both files agree" in verified(worked))


def test_verify_tells_what_others_did_to_a_file_and_what_becomes_of_it(worked: Server, acks: Acks) -> None:
    content = lines(worked.candidates)
    edited = json.loads(content[0]) | {"task_name": "edited"}
    deleted = json.loads(content[1])["id"]
    added = [json.dumps(edited).encode(), *content[2:], json.dumps(record("new")).encode()]
    worked.candidates.write_bytes(b"".join(line + b"\n" for line in added))
    told = verified(worked)
    assert f"1 edited by others: will be accepted ({edited['id']})" in told
    assert f"1 deleted by others: will be accepted; if that was not meant, put the file back first ({deleted})" in told
    assert "1 new, by others: will be taken in" in told
    acks.add([record("new")])
    acks.drop(deleted)
    acks.edit(edited["id"], task_name="edited")
    worked.start()
    assert worked.stub.GetCandidate(pb.GetCandidateRequest(id=edited["id"])).candidate.task_name == "edited"
    assert worked.stub.GetCandidate(pb.GetCandidateRequest(id="new")).candidate.id == "new"
    eventually(lambda: "both files agree" in verified(worked))


@pytest.mark.parametrize("has_index", [True, False])
def test_verify_names_new_malformed_lines_as_the_log_will(stopped_server: Server, has_index: bool) -> None:
    server = stopped_server
    server.candidates.write_text(json.dumps(record("a")) + '\n{"known\n')
    server.approved.write_text("")
    assert server.start().stop() == 0
    if not has_index:
        (server.data / ".avocet/mirror.db").unlink()
    several = "".join(f"{{broken {number}\n\n" for number in range(7))
    server.candidates.write_text("[1]\n" + json.dumps(record("a")) + '\n{"known\n' + several)
    with server.approved.open("wb") as file:
        file.write(b"x" * (64 * 1024 * 1024 + 1) + b"\n" + b"{}\n" * 1_001)
    told = verified(server).splitlines()
    wrong, empty, long = "the line is not a JSON object", "the record has no id", "the line is longer than 64 MB"
    numbers = [1, *([] if has_index else [3]), *range(4, 18, 2)]
    count = f"{len(numbers)} new and malformed, by others: will be kept and counted"
    of_candidates = [
        f"differs: sft_candidates.jsonl: {text}" for text in (count, *(f"line {n}: {wrong}" for n in numbers))
    ]
    assert [line for line in told if "sft_candidates" in line] == of_candidates
    of_approved = [line.removeprefix("differs: sft_approved.jsonl: ") for line in told if "sft_approved" in line]
    assert of_approved[0] == "1,002 new and malformed, by others: will be kept and counted"
    assert of_approved[1:] == [
        f"line 1: {long}",
        *(f"line {n}: {empty}" for n in range(2, 1_001)),
        "2 more malformed lines",
    ]
    logged = [json.loads(line) for line in server.start().log.splitlines() if '"malformed line"' in line]
    named = [f"differs: {one['file']}: line {one['line']}: {one['reason']}" for one in logged]
    assert len(named) > 20 and set(named[-20:]) <= set(told)


def test_an_id_of_another_program_cannot_act_on_the_terminal_nor_fail_for_its_characters(
    stopped_server: Server,
) -> None:
    hostile = record("\x1b[2J\u202e天")
    stopped_server.candidates.write_text(json.dumps(hostile) + "\n")
    assert stopped_server.start().stop() == 0
    stopped_server.candidates.write_text(json.dumps(hostile | {"task_name": "edited"}) + "\n")
    whole = [str(BIN / "avocet-grpc"), "verify", "--data-dir", str(stopped_server.data)]
    narrow = os.environ | {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0"}
    done = subprocess.run(whole, env=narrow, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 edited by others: will be accepted (\\x1b[2J\\u202e\\u5929)" in done.stdout


def test_verify_calls_a_file_that_lost_its_half_damaged(worked: Server) -> None:
    sound = worked.candidates.read_bytes()
    for content in (sound[: len(sound) // 2], b""):
        worked.candidates.write_bytes(content)
        assert "DAMAGE: sft_candidates.jsonl" in verified(worked, code=6)
    worked.candidates.unlink()
    assert "the file is missing" in verified(worked, code=6)


def test_verify_finds_one_changed_byte_of_any_record_also_beside_a_running_server(worked: Server, acks: Acks) -> None:
    worked.start()
    with sqlite3.connect(ledger_of(worked), timeout=30) as db:
        (key, raw) = db.execute("SELECT key, raw FROM bodies ORDER BY key LIMIT 1 OFFSET 7").fetchone()
        at = random.Random(acks.seed).randrange(len(raw))
        changed = raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]
        db.execute("UPDATE bodies SET raw = ? WHERE key = ?", (changed, key))
    assert f"the content of record {key}" in verified(worked, code=6)


def test_verify_of_a_damaged_ledger_names_the_way_out_and_rebuild_is_it(worked: Server, acks: Acks) -> None:
    revision = acks.highest_revision
    flip(ledger_of(worked), 20)
    damaged = ledger_of(worked).read_bytes()
    assert "DAMAGE: the way out: avocet-grpc rebuild" in verified(worked, code=6)
    assert "avocet-grpc rebuild" in refusal(worked)
    asked = command(worked, "rebuild")
    assert asked.returncode == 1 and "This cannot come back" in asked.stdout and "--yes" in asked.stderr
    assert ledger_of(worked).read_bytes() == damaged
    done = command(worked, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    (kept,) = ledger_of(worked).parent.glob("ledger-*.db")
    assert kept.read_bytes() == damaged and str(kept) in done.stdout
    acks.forget_the_past()
    check(acks, worked.start(), asked=1_000)
    assert worked.stats().revision > revision
    with Load(acks, worked.address) as load:
        load.wait_for(50)
    check(acks, worked, asked=1_000)
    assert worked.stop() == 0
    files_agree(acks, worked.data)


def test_rebuild_tells_what_is_lost_and_carries_over_what_the_files_lack(worked: Server, acks: Acks) -> None:
    worked.environment = {failpoints.VARIABLE: "append.before:kill:4"}
    worked.start()
    with Load(acks, worked.address, threads=2) as load:
        assert worked.ended() == -9
    assert load.acknowledged >= 1
    worked.environment = {}
    done = command(worked, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    for what in ("changes? in the history", "request ids?", "examples? of older revisions", "snapshots?"):
        assert re.search(rf"^\W+[\d,]+ {what}: ", done.stdout, re.M), done.stdout
    assert re.search(r"^Carried over: [\d,]+ acknowledged changes? that the files lack\.$", done.stdout, re.M)
    settle(acks, worked.start())
    acks.forget_the_past()
    check(acks, worked, asked=1_000)


@pytest.mark.parametrize("content", [None, b"", b"x"], ids=["missing", "empty", "a byte"])
def test_verify_calls_a_ledger_damaged_of_which_nothing_is_left_and_rebuild_is_the_way_out(
    worked: Server, content: bytes | None
) -> None:
    ledger_of(worked).unlink()
    if content is not None:
        ledger_of(worked).write_bytes(content)
    told = verified(worked, code=6)
    assert "DAMAGE: ledger: " in told and f"avocet-grpc rebuild --data-dir {worked.data}" in told
    backup = command(worked, "backup", "--to", str(worked.directory / "backup"))
    assert backup.returncode == 1 and not (worked.directory / "backup").exists()
    assert ("the ledger is damaged: " if content is not None else "has no") in backup.stderr
    done = command(worked, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    named = re.search(r"The old one is (\S+);", done.stdout)
    assert named is None if content is None else named is not None and Path(named[1]).read_bytes() == content
    verified(worked)


@pytest.mark.parametrize("is_there", [True, False])
def test_revisions_go_on_above_the_floor_if_the_old_ledger_says_nothing(stopped_server: Server, is_there: bool) -> None:
    server, far = stopped_server, 2**60
    server.candidates.write_text(json.dumps(record("a")) + "\n")
    assert server.start().stop() == 0
    os.setxattr(server.data, floor.ATTRIBUTE, str(far).encode())
    for path in ledger_of(server).parent.glob("ledger.db*"):
        path.unlink()
    if is_there:
        ledger_of(server).write_bytes(b"no database")
    done = command(server, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr
    assert ("The new ledger has 1 candidate. " if is_there else "there is no ledger") in done.stdout
    if is_there:
        # Before a start, which lifts a ledger that is below the floor as one that was copied by hand.
        with contextlib.closing(sqlite3.connect(ledger_of(server))) as db:
            assert db.execute("SELECT revision FROM head").fetchone()[0] >= far
    first = server.start().stats().revision
    assert far <= first < server.correct("a").revision


@pytest.mark.parametrize("name", ["sft_candidates.jsonl", "sft_approved.jsonl"])
def test_each_command_over_a_line_of_more_than_a_gigabyte_needs_little_memory(worked: Server, name: str) -> None:
    path, known = worked.data / name, len({json.loads(line)["id"] for line in lines(worked.candidates)})
    os.truncate(path, path.stat().st_size + 1_100_000_000)
    with path.open("ab") as file:
        file.write(b"\n")
    backup = worked.directory / "backup"
    for arguments in (["verify"], ["rebuild", "--yes"], ["backup", "--to", str(backup)]):
        whole = [str(BIN / "avocet-grpc"), *arguments, "--data-dir", str(worked.data)]
        # A command that holds the whole line in memory needs more.
        done = subprocess.run(limited(whole, RLIMIT_AS=1_000_000_000), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (arguments, done.stdout + done.stderr)
        if arguments == ["verify"]:
            assert "the line is longer than 64 MB" in done.stdout
    shutil.rmtree(backup)
    stats = worked.start().stats()
    assert (stats.total, stats.malformed) == (known, 1)


def test_rebuild_refuses_while_a_server_holds_the_directory(worked: Server) -> None:
    worked.start()
    done = command(worked, "rebuild", "--yes")
    assert done.returncode == 3
    assert worked.address in done.stderr and "stop it first" in done.stderr
    assert worked.stats().total > 0


def test_both_commands_say_when_there_is_nothing_to_look_at(stopped_server: Server, tmp_path: Path) -> None:
    assert "no ledger" in verified(stopped_server)
    assert "no ledger" in command(stopped_server, "rebuild", "--yes").stdout
    missing = Server(tmp_path / "other")
    missing.data.rmdir()
    assert command(missing, "verify").returncode == 2 and command(missing, "rebuild").returncode == 2
