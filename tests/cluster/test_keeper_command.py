"""What an operator sees of the keeper, and how the files are moved to another server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_grpc.edge.health import FILES
from avocet_grpc.exit_codes import ExitCode
from tests.cluster.support import ended, filled, ids, is_kept_in, keeper, new_server, soon, state, total
from tests.operate.test_metrics import samples
from tests.support import Server

SERVING = health_pb2.HealthCheckResponse.SERVING


def files_health(server: Server) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(server.open_channel)
    return bool(stub.Check(health_pb2.HealthCheckRequest(service=FILES)).status == SERVING)


def test_status_health_metrics_and_log_say_who_keeps_the_files(database: str, tmp_path: Path) -> None:
    never = keeper("status", "--store", database)
    assert (never.returncode, never.stdout) == (ExitCode.NOT_KEPT, "nobody has ever kept the files of this store\n")
    first = filled(tmp_path / "first", database)
    other = new_server(tmp_path / "other", database)
    other.environment["AVOCET_METRICS_LISTEN"] = "127.0.0.1:0"
    with ended(first, other.start()):
        soon(lambda: files_health(other) and files_health(first))
        found = keeper("status", "--store", database)
        assert found.returncode == 0 and f":{first.data} keeps the files, seen " in found.stdout
        soon(lambda: "the files are 0 revisions behind the store" in keeper("status", "--store", database).stdout)
        seen = samples(other)
        assert seen["avocet_keeper_last_seen", ""] > 1e9
        first.kill()
        other.correct("c1")
        soon(lambda: not files_health(other))
        soon(lambda: "nobody keeps the shared files; calls go on" in other.log)
        lost = keeper("status", "--store", database)
        assert lost.returncode == ExitCode.NOT_KEPT and "nobody keeps the files; " in lost.stdout
        assert str(first.data) in lost.stdout and "the files are 1 revision behind" in lost.stdout
        after = samples(other)
        assert after["avocet_keeper_lag_revisions", ""] == 1
        assert after["avocet_keeper_last_seen", ""] >= seen["avocet_keeper_last_seen", ""]


def test_released_files_are_level_and_another_server_keeps_the_copied_directory(database: str, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", database)
    second = new_server(tmp_path / "second", database, keeps=True)
    with ended(first, second):
        first.correct("c1")
        released = keeper("release", "--store", database)
        assert released.returncode == 0 and released.stdout.endswith("nobody keeps the files now\n")
        assert ids(first.approved) == ["c1"] and not (first.data / ".avocet/running").exists()
        shutil.copytree(first.data, second.data, dirs_exist_ok=True)
        second.start()
        first.correct("c2")
        soon(lambda: ids(second.approved) == ["c1", "c2"])
        assert is_kept_in(database, second.data) and ids(first.approved) == ["c1"]
        assert total(first) == total(second) == 5
        assert first.stop() == second.stop() == 0
    assert keeper("release", "--store", database).stdout == "nobody keeps the files\n"


def test_a_released_directory_is_kept_again_by_a_server_that_starts_in_it(database: str, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", database)
    again = new_server(tmp_path / "again", database, keeps=True, data=first.data)
    with ended(again, first):
        assert keeper("release", "--store", database).returncode == 0
        again.start()
        first.correct("c1")
        soon(lambda: ids(again.approved) == ["c1"])
        assert first.stop() == 0 and (first.data / ".avocet/owner").exists()
        assert again.stop() == 0


def test_a_released_directory_is_not_taken_again_by_a_mirror_that_takes_a_killed_one_s_place(
    database: str, tmp_path: Path
) -> None:
    first = filled(tmp_path / "first", database)
    with ended(first):
        assert keeper("release", "--store", database).returncode == 0
        [mirror] = first.processes("mirror")
        os.kill(mirror, signal.SIGKILL)
        soon(lambda: [pid for pid in first.processes("mirror") if pid != mirror])
        first.correct("c1")
        # It would have tried each second.
        time.sleep(4)
        assert not state(database).is_kept and ids(first.approved) == []
        assert first.stop() == 0


def test_a_release_gives_the_directory_up_without_the_note_of_its_owner(database: str, tmp_path: Path) -> None:
    first = filled(tmp_path / "first", database)
    again = new_server(tmp_path / "again", database, keeps=True, data=first.data)
    with ended(again, first):
        (first.data / ".avocet/owner").unlink()
        assert keeper("release", "--store", database).returncode == 0
        soon(lambda: "has released the shared files" in first.log)
        again.start()
        assert again.stop() == 0


def test_take_over_writes_both_files_from_the_store_and_sets_aside_what_was_there(
    database: str, tmp_path: Path
) -> None:
    lost = filled(tmp_path / "lost", database)
    with lost.candidates.open("a") as file:
        file.write('{"id": "torn\n')
    soon(lambda: lost.stats().malformed == 1)
    for id in ("c3", "c1"):
        lost.correct(id)
    soon(lambda: ids(lost.approved) == ["c3", "c1"])
    # The two files become level one after the other.
    soon(lambda: lost.candidates.read_text().count('"needs_review"') == 3)
    kept = {path: [json.loads(line) for line in path.read_text().splitlines() if line.strip().endswith("}")]
            for path in (lost.candidates, lost.approved)}  # fmt: skip
    other = new_server(tmp_path / "other", database)
    new = new_server(tmp_path / "new", database, keeps=True)
    new.candidates.write_text('{"id": "old"}\n')
    (new.data / ".avocet").mkdir()
    (new.data / ".avocet/mirror.db").write_text("of another life")
    arguments = ("take-over", "--store", database, "--data-dir", str(new.data))
    with ended(lost, other.start(), new):
        refused = keeper(*arguments)
        assert refused.returncode == 1 and f"a server keeps the files in {state(database).place}" in refused.stderr
        assert ids(new.candidates) == ["old"]
        nowhere = tmp_path / "nowhere"
        assert keeper("take-over", "--store", database, "--data-dir", str(nowhere)).returncode == 1
        assert not nowhere.exists()
        lost.kill()
        soon(lambda: not state(database).is_kept)
        done = keeper(*arguments)
        assert done.returncode == 0, done.stderr
        assert "1 malformed line and" in done.stdout
        assert [json.loads(line) for line in new.approved.read_text().splitlines()] == kept[lost.approved]
        written = [json.loads(line) for line in new.candidates.read_text().splitlines()]
        assert sorted(written, key=lambda one: one["id"]) == sorted(kept[lost.candidates], key=lambda one: one["id"])
        assert [one["id"] for one in written] == [f"c{n}" for n in range(5)]
        (aside,) = new.data.glob("before-take-over-*")
        assert str(aside) in done.stdout and ids(aside / "sft_candidates.jsonl") == ["old"]
        assert (aside / ".avocet/mirror.db").read_text() == "of another life"
        new.start()
        other.correct("c0")
        soon(lambda: ids(new.approved) == ["c3", "c1", "c0"])
        assert total(other) == 5
        try:
            lost.start()
        except RuntimeError as error:
            assert "has the files of another store" in str(error)
        else:
            raise AssertionError("the directory that was taken over from was accepted")


def test_take_over_of_a_directory_that_a_server_has_is_refused(database: str, tmp_path: Path) -> None:
    server = Server(tmp_path)
    with ended(server.start()):
        refused = keeper("take-over", "--store", database, "--data-dir", str(server.data))
        assert refused.returncode == ExitCode.DIRECTORY_TAKEN and "stop it first" in refused.stderr


def test_take_over_of_a_directory_that_somebody_else_laid_out_is_refused(database: str, tmp_path: Path) -> None:
    with ended(filled(tmp_path / "first", database)):
        pass
    soon(lambda: not state(database).is_kept)
    victim, data = tmp_path / "victim", tmp_path / "planted"
    victim.write_text("precious")
    (data / ".avocet").mkdir(mode=0o700, parents=True)
    (data / ".avocet" / "mirror.db").symlink_to(victim)
    refused = keeper("take-over", "--store", database, "--data-dir", str(data))
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "mirror.db is a symbolic link" in refused.stderr
    assert victim.read_text() == "precious" and not list(data.glob("*.jsonl"))


def test_a_wrong_store_is_refused_in_one_line_without_its_password() -> None:
    for command in ("status", "release"):
        found = keeper(command, "--store", "postgres://a:hunter2@127.0.0.1:1/db")
        assert found.returncode == 1 and found.stderr.count("\n") == 1 and "hunter2" not in found.stderr
