"""The commands for a team: list, history, watch, snapshot, upload, batch and version, at a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from avocet_client import __version__
from avocet_client.cli.app import GROUPS, SNAPSHOTS, app
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.terminal import HEED_INTERRUPTS, Terminal
from tests.client.test_cli import Shell
from tests.support import BIN, SECRET, Server, eventually, make_run, record, write_records

RUN = "2025-03-02-120000"
LONG = "x" * 200
WIDE = "天" * 100


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("team-cli"))
    write_records(server.candidates, [record(f"c{n}", task_type="code" if n % 2 else "sum") for n in range(6)])
    approved = [record(f"x{n}", status="approved", corrected_response=f"better {n}") for n in range(3)]
    write_records(server.approved, approved)
    yield server.start()
    server.kill()


@pytest.fixture
def shell(served: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"AVOCET_ADDRESS": served.address, "AVOCET_TOKEN": SECRET})


def jsonl(*lines: Any) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def test_every_command_has_an_example_in_its_help_that_the_command_accepts() -> None:
    examples = {(name,): example for group in GROUPS.values() for name, _, example in group}
    examples |= {("snapshot", name): example for name, _, example in SNAPSHOTS}
    listed = {command.name for command in app.registered_commands} | {"snapshot"}
    assert listed == {words[0] for words in examples}
    for words, example in examples.items():
        assert example.split()[1 : 1 + len(words)] == list(words)
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
        assert f"Example: {example}" in shown.stdout, shown.stdout
        flags = [word for word in example.split() if word.startswith("-")]
        assert all(flag in shown.stdout for flag in flags), example


def test_help_fills_the_width_and_keeps_lists() -> None:
    shown = CliRunner().invoke(app, ["review", "--help"], env={"COLUMNS": "60"}).stdout
    prose = shown.partition("What is shown")[2].partition("What you type")[0].strip().split("\n")
    assert len(prose) > 2 and all(len(line.strip()) > 35 for line in prose[:-1]), prose
    assert re.search(r"^ +- c +correct in \$EDITOR", shown, re.MULTILINE)
    assert re.search(r"^ +- u +undo", shown, re.MULTILINE)


def test_candidates_of_any_status_are_listed_searched_and_paged(shell: Shell) -> None:
    shell.run("submit", "c1", "correct", "--text", "Rayleigh scattering", "--reviewer", "kim")
    shell.run("submit", "c2", "discard")
    assert [each["id"] for each in shell.json("list", "--status", "approved")["items"]] == ["c1"]
    both = shell.json("list", "--status", "approved", "--status", "discarded", "--order", "reviewed_desc")["items"]
    assert [each["id"] for each in both] == ["c2", "c1"]
    assert [each["id"] for each in shell.json("list", "--text", "rayleigh")["items"]] == ["c1"]
    assert len(shell.json("list", "--task-type", "code", "-n", "0")["items"]) == 3
    first = shell.json("list", "-n", "4")
    rest = shell.json("list", "-n", "0", "--page-token", first["next_page_token"])
    assert [each["id"] for each in first["items"] + rest["items"]] == [f"c{n}" for n in range(6)]
    assert rest["next_page_token"] == ""
    out = shell.run("list", "-n", "2").stdout
    assert "c0" in out and f"--page-token {shell.json('list', '-n', '2')['next_page_token']}\n" in out
    assert "text" in shell.run("list", "--text", "ab", code=1).stderr
    shell.run("list", "--status", "done", code=2)
    shell.run("list", "-n", "-1", code=2)


def test_the_history_tells_who_changed_what_by_id_by_reviewer_and_since_a_revision(shell: Shell) -> None:
    shell.run("submit", "c1", "correct", "--text", "better", "--reviewer", "kim")
    since = shell.json("stats")["revision"]
    shell.run("undo", "c1", "--reviewer", "lou")
    shell.run("submit", "c2", "flag", "--reviewer", "kim")
    kim = shell.json("history", "--reviewer", "kim")
    assert [(each["action"], each["id"]) for each in kim] == [("flag", "c2"), ("correct", "c1")]
    assert [each["action"] for each in shell.json("history", "c1", "--oldest-first")][-2:] == ["correct", "undo"]
    assert [each["id"] for each in shell.json("history", "--since", str(since))] == ["c2", "c1"]
    assert [each["id"] for each in shell.json("history", "--action", "undo")] == ["c1"]
    assert len(shell.json("history", "-n", "1")) == 1
    out = shell.run("history", "c1").stdout
    assert 'corrected_response: null -> "better"' in out and "needs_review -> approved  by kim" in out
    assert shell.run("history", "-n", "1").stdout.endswith("\n1 change\n")
    assert shell.run("history", "-n", "2").stdout.endswith("\n2 changes\n")
    assert shell.json("history", "nobody") == []
    shell.run("history", "--action", "paint", code=2)
    shell.run("history", "--since", str(since + 10**15), code=1)


def test_a_watch_prints_each_change_and_goes_on_where_its_state_file_says(shell: Shell, served: Server) -> None:
    start = shell.json("stats")["revision"]
    shell.run("submit", "c1", "discard", "--reviewer", "kim")
    shell.run("submit", "c2", "discard", "--reviewer", "kim")
    state = str(shell.home / "watch.json")
    one = shell.run("watch", "--since", str(start), "-n", "1", "--json", "--state", state).stdout
    assert json.loads(one)["id"] == "c1" and one.count("\n") == 1
    out = shell.run("watch", "-n", "1", "--state", state).stdout
    assert "discard  c2  needs_review -> discarded  by kim" in out
    shell.run("submit", "c3", "flag")
    third = json.loads(shell.run("watch", "-n", "1", "--json", "--state", state, "--candidates").stdout)
    assert (third["id"], third["candidate"]["status"]) == ("c3", "model_rejected")
    kept = json.loads(Path(state).read_text())
    for wrong in ("[]", "{}", "7", "[" * 100_000, "", "\ud800", json.dumps(kept | {"taken": [1]})):
        Path(state).write_text(wrong, errors="surrogatepass")
        told = shell.run("watch", "--state", state, code=2).stderr
        assert f"avocet: {state} is not a state of this watch; delete it to begin again" in told
    shell.run("watch", "--since", str(start + 10**15), code=1)
    shell.variables["AVOCET_ADDRESS"] = "127.0.0.1:1"
    assert "Is the service there?" in shell.run("watch", code=6).stderr


def test_a_watch_outlives_a_restart_of_the_server_and_ends_with_an_interrupt(shell: Shell, served: Server) -> None:
    start = shell.json("stats")["revision"]
    environment = os.environ | shell.variables | {"HOME": str(shell.home)}
    command = [str(BIN / "avocet"), "watch", "--json", "--since", str(start)]
    # What a script runs in the background ignores SIGINT, and so may these tests.
    command = [sys.executable, "-c", HEED_INTERRUPTS, *command]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        served.correct("c0")
        assert json.loads(watching.stdout.readline())["id"] == "c0"
        served.listen = served.address
        served.kill()
        served.start()
        served.correct("c1")
        assert json.loads(watching.stdout.readline())["id"] == "c1"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(timeout=60) == 130


def test_a_snapshot_is_made_listed_shown_exported_and_deleted(shell: Shell) -> None:
    assert "avocet snapshot create NAME" in shell.run("snapshot", "list").stdout
    made = shell.json("snapshot", "create", "first", "--note", "for sft")
    assert (made["name"], made["note"], made["example_count"]) == ("first", "for sft", 3)
    assert made["created_at"].endswith("Z")
    shell.run("submit", "c1", "correct", "--text", "better")
    assert shell.json("snapshot", "create", "second")["example_count"] == 4
    assert [each["name"] for each in shell.json("snapshot", "list")] == ["second", "first"]
    assert shell.json("snapshot", "show", "first") == made
    before = shell.run("snapshot", "export", "first", "--format", "sft").stdout
    assert len(before.splitlines()) == 3
    shell.run("undo", "c1")
    out = shell.home / "sft.jsonl"
    shell.run("snapshot", "export", "first", "--format", "sft", "--out", str(out))
    assert out.read_text() == before
    assert "SNAPSHOT_EXISTS" in shell.run("snapshot", "create", "first", code=1).stderr
    assert "name" in shell.run("snapshot", "create", "Not A Name", code=1).stderr
    for command in (("show", "nope"), ("export", "nope"), ("delete", "nope", "--yes")):
        shell.run("snapshot", *command, code=3)
    assert "--yes" in shell.run("snapshot", "delete", "first", code=2).stderr
    assert shell.json("snapshot", "delete", "first", "--yes") == {"deleted": "first"}
    shell.run("snapshot", "show", "first", code=3)


def test_a_person_is_asked_before_a_snapshot_is_deleted(shell: Shell) -> None:
    shell.run("snapshot", "create", "first")
    for answer, code in (("n", 1), ("y", 0)):
        environment = os.environ | shell.variables | {"HOME": str(shell.home), "TERM": "xterm"}
        terminal = Terminal([str(BIN / "avocet"), "snapshot", "delete", "first"], environment)
        try:
            terminal.read_until("cannot be had back")
            terminal.press(f"{answer}\n")
            terminal.read_until("eleted")
            assert terminal.end() == code
        finally:
            terminal.close()
    assert shell.json("snapshot", "list") == []


def test_a_run_that_lies_here_is_uploaded_and_a_conflict_is_skipped_or_qualified(shell: Shell, tmp_path: Path) -> None:
    make_run(tmp_path / "bench", RUN, count=3)
    run = tmp_path / "bench" / RUN
    done = shell.json("upload", str(run))
    assert (done["imported"], done["skipped"]) == (3, 0)
    assert "3 known already" in shell.run("upload", str(run / "sft_candidates.jsonl")).stdout
    (id, *_) = [each["id"] for each in shell.json("list", "--run", RUN)["items"]]
    other = jsonl(record(id, model_response="something else", benchmark_run_id=RUN)) + "torn\n"
    skipped = shell.run("upload", "-", "--run-id", RUN, stdin=other).stdout
    assert "1 not taken" in skipped and "--on-conflict qualify" in skipped and "line 2:" in skipped
    qualified = shell.run("upload", "-", "--run-id", RUN, "--on-conflict", "qualify", stdin=other).stdout
    assert "1 taken under an id that begins with the run's" in qualified
    assert shell.json("show", f"{RUN}/{id}")["model_response"] == "something else"
    assert "--run-id" in shell.run("upload", "-", code=2, stdin=other).stderr
    assert "No such file" in shell.run("upload", str(tmp_path / "nowhere"), code=2).stderr
    assert "run_id" in shell.run("upload", str(run), "--run-id", "../x", code=1).stderr


def test_an_import_takes_what_to_do_with_a_conflict(shell: Shell, served: Server) -> None:
    served.set_runs_directory()
    (served.runs / RUN).mkdir()
    (served.runs / RUN / "sft_candidates.jsonl").write_text(jsonl(record("c0", model_response="other")))
    assert shell.json("import", RUN)["conflicts"] == 1
    assert shell.json("import", RUN, "--on-conflict", "qualify")["qualified"] == 1
    shell.run("import", RUN, "--on-conflict", "overwrite", code=2)


def test_an_upload_shows_its_progress_in_a_terminal(shell: Shell, tmp_path: Path) -> None:
    make_run(tmp_path / "bench", RUN, count=3)
    environment = os.environ | shell.variables | {"HOME": str(shell.home), "TERM": "xterm"}
    terminal = Terminal([str(BIN / "avocet"), "upload", str(tmp_path / "bench" / RUN)], environment)
    try:
        assert "uploading" in terminal.read_until("3 imported")
        assert terminal.end() == 0
    finally:
        terminal.close()


def test_versions_of_the_command_and_of_the_service_are_told(shell: Shell, served: Server) -> None:
    told = shell.json("version")
    assert (told["client"], told["server"]["version"]) == (__version__, __version__)
    assert told["server"]["engine"] == served.engine_name
    assert told["server"]["started_at"].endswith("Z")
    assert f"avocet {__version__}\nservice {__version__}, " in shell.run("version").stdout
    shell.variables["AVOCET_ADDRESS"] = "127.0.0.1:1"
    assert shell.run("version", code=6).stdout == f"avocet {__version__}\n"


@pytest.mark.parametrize("columns", [40, 80])
@pytest.mark.parametrize("id", [LONG, WIDE, "e" * 70 + "\x1b[2J\tz\n\u202e"], ids=["long", "wide", "control"])
def test_an_id_is_whole_on_its_line_however_narrow_the_screen_is(
    shell: Shell, served: Server, columns: int, id: str
) -> None:
    run_id = f"ids-{columns}-{len(id)}"
    (served.runs / run_id).mkdir()
    write_records(served.runs / run_id / "sft_candidates.jsonl", [record(id)])
    served.set_runs_directory()
    served.stub.Import(pb.ImportRequest(run_id=run_id))
    eventually(lambda: served.stats().by_status.get("needs_review") == 7)
    shown = id.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\t", "\\t").replace("\n", "\\n")
    environment = os.environ | shell.variables | {"HOME": str(shell.home), "TERM": "xterm"}
    for command in (("queue",), ("list",), ("history", id), ("show", id)):
        terminal = Terminal([str(BIN / "avocet"), *command], environment, columns=columns)
        try:
            screen = terminal.rest().replace("\r\n", "\n")
            assert terminal.end() == 0
        finally:
            terminal.close()
        assert any(shown in line for line in screen.split("\n")), f"{command}:\n{screen}"
        assert "\x1b[2J" not in screen and "\u202e" not in screen
