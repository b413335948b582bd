"""The command line, as a process, at a real server."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from avocet_client import ExportOptions
from avocet_client.cli.app import app
from avocet_client.cli.options import EXPORT
from tests.client.terminal import Terminal
from tests.support import BIN, SECRET, Server, make_run, record, write_records

RUN = "2025-03-02-120000"
APPROVED = 12
COMMANDS = [
    *("runs", "import", "queue", "show", "submit", "undo", "review"),
    *("export", "stats", "config", "ingest", "health"),
]


@dataclass
class Shell:
    """Runs `avocet` with a home of its own."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AVOCET_", "XDG_"))}
        environment = kept | {"HOME": str(self.home), "COLUMNS": "160", "NO_COLOR": "1"} | self.variables
        command = [str(BIN / "avocet"), *arguments]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("cli"))
    write_records(server.candidates, [record(id) for id in ("a", "b", "c", "d", "e", "f")])
    approved = [record(f"x{n:02d}", status="approved", corrected_response=f"better {n}") for n in range(APPROVED)]
    write_records(server.approved, approved)
    make_run(server.runs, RUN, count=3)
    yield server.start()
    server.kill()


@pytest.fixture
def shell(served: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"AVOCET_ADDRESS": served.address, "AVOCET_TOKEN": SECRET})


def editor(shell: Shell, text: str | None) -> None:
    """Let $EDITOR write `text` over what it is given, or leave it as it is."""
    script = shell.home / "editor"
    command = "exit 0" if text is None else f"cp \"$1\" {shell.home}/was; sleep 0.01; printf '%s' '{text}' > \"$1\""
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    shell.variables |= {"EDITOR": str(script), "VISUAL": ""}


def test_help_lists_every_command_and_the_exit_codes(shell: Shell) -> None:
    out = shell.run("--help").stdout
    for command in COMMANDS:
        assert f" {command} " in out
        own = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"}).stdout
        assert "--json" in own and "--address" in own and "AVOCET_TOKEN" in own
    assert "Exit codes: 0 done" in out and "client.toml" in out


def test_an_export_has_a_flag_for_each_option_of_an_export() -> None:
    assert {"filter", *EXPORT} == set(ExportOptions.__annotations__)
    assert {f"--{name.replace('_', '-')}" for name in EXPORT} <= set(
        CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "160"}).stdout.split()
    )


def test_completion_is_offered(shell: Shell) -> None:
    # It completes for the shell that it is called from; `true` keeps bash from giving way to the command.
    asked = ["bash", "-c", f"{BIN}/avocet --show-completion; true"]
    shown = subprocess.run(
        asked, env=os.environ | {"HOME": str(shell.home)}, capture_output=True, text=True, timeout=60
    )
    assert "_AVOCET_COMPLETE" in shown.stdout, shown.stderr
    completing = {"_AVOCET_COMPLETE": "complete_bash", "COMP_WORDS": "avocet export --format ", "COMP_CWORD": "3"}
    shell.variables |= completing
    assert {"sft", "preference", "kto", "openai"} <= set(shell.run().stdout.split())


def test_runs_are_listed_and_imported(shell: Shell, served: Server) -> None:
    assert "avocet config --bench-results-dir" in shell.run("runs").stdout
    assert str(served.runs) in shell.run("config", "--bench-results-dir", str(served.runs)).stdout
    assert shell.json("config") == {"bench_results_dir": str(served.runs)}
    assert RUN in shell.run("runs").stdout
    (run,) = shell.json("runs")
    assert (run["run_id"], run["candidate_count"], run["already_imported"]) == (RUN, 3, False)
    done = shell.json("import", RUN)
    assert (done["imported"], done["skipped"], done["malformed"], done["by_status"]) == (3, 0, 0, {"needs_review": 3})
    assert "3 known already" in shell.run("import", RUN).stdout


def test_the_queue_is_paged_and_filtered(shell: Shell) -> None:
    page = shell.json("queue", "-n", "2", "--order", "quality_desc", "--task-type", "code", "--task-type", "summary")
    assert len(page["items"]) == 2 and page["items"][0]["status"] == "needs_review"
    rest = shell.json("queue", "--order", "quality_desc", "--task-type", "code", "--task-type", "summary",
                      "--page-token", page["next_page_token"])  # fmt: skip
    assert not {item["id"] for item in rest["items"]} & {item["id"] for item in page["items"]}
    out = shell.run("queue", "-n", "1").stdout
    assert re.search(r"1 of \d+ in review\nthe next page: --page-token", out)


def test_a_correction_with_tool_calls_is_given_as_json(shell: Shell) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
    decided = shell.json("submit", "e", "--message", json.dumps({"tool_calls": [call]}))
    assert decided["corrected_response"] == json.dumps([call])
    assert json.loads(decided["corrected_message"]["extra_json"]) == {"tool_calls": [call]}
    assert 'now({"zone": "UTC"})' in shell.run("show", "e").stdout
    assert "is not JSON" in shell.run("submit", "f", "--message", "{", code=2).stderr
    assert "corrected_message" in shell.run("submit", "f", "--message", '{"name": "x"}', code=1).stderr
    shell.run("undo", "e")


def test_a_candidate_is_shown_and_decided(shell: Shell) -> None:
    out = shell.run("show", "a").stdout
    assert "Why is the sky blue, in case a?" in out and "keywords missing" in out
    decided = shell.json("submit", "a", "--text", "better", "--category", "wrong_answer", "--reviewer", "kim")
    assert (decided["status"], decided["corrected_response"]) == ("approved", "better")
    assert decided["reviewed_by"] == "kim"
    assert shell.json("show", "a") == decided
    assert shell.json("submit", "b", "discard")["status"] == "discarded"
    assert shell.json("submit", "c", "flag", "--category", "hallucination")["failure_category"] == "hallucination"
    assert shell.json("undo", "a")["status"] == "needs_review"


def test_the_editor_opens_on_the_models_response(shell: Shell) -> None:
    editor(shell, "edited")
    assert shell.json("submit", "d")["corrected_response"] == "edited"
    was = (shell.home / "was").read_text()
    assert was.rpartition(">8 --------\n")[2].startswith("Because of the sea") and "# Why is the sky blue" in was
    editor(shell, None)
    assert "nothing is submitted" in shell.run("submit", "e", code=1).stderr
    assert shell.json("show", "e")["status"] == "needs_review"


def test_the_editor_does_not_open_on_what_is_decided_already(shell: Shell) -> None:
    shell.json("submit", "e", "discard")
    editor(shell, "edited")
    told = shell.run("submit", "e", code=4).stderr
    assert told.startswith("avocet: It is discarded now, and is left as it is.") and "kept" not in told
    assert not (shell.home / "was").exists()
    error = json.loads(shell.run("submit", "e", "--json", code=4).stderr)["error"]
    assert (error["reason"], error["metadata"]) == ("NOT_IN_REVIEW", {"current_status": "discarded"})
    shell.json("undo", "e")


def test_an_error_has_its_exit_code_and_is_json_too(shell: Shell) -> None:
    assert "CANDIDATE_NOT_FOUND" in shell.run("show", "x", code=3).stderr
    assert shell.run("undo", "f", code=4).stderr.count("\n") <= 2
    shell.run("submit", "f", "--text", " ", code=1)
    shell.run("export", "--shard", "4", code=2)
    shell.run("queue", "--order", "random", code=2)
    error = json.loads(shell.run("show", "x", "--json", code=3).stderr)["error"]
    assert (error["code"], error["reason"], error["metadata"]) == ("NOT_FOUND", "CANDIDATE_NOT_FOUND", {"id": "x"})
    one = ("ingest", "--source", "s", "--task-type", "t", "--prompt", "p", "--correction", "c")
    assert "TOKEN_REFUSED" in shell.run(*one, "--token", "wrong", code=5).stderr
    gone = shell.run(*one, "--address", "127.0.0.1:1", code=6).stderr
    assert "--request-id" in gone and "AVOCET_ADDRESS" in gone


def test_a_conflict_shows_its_details(shell: Shell, served: Server) -> None:
    now = shell.json("show", "f")["revision"]
    shell.json("submit", "f", "discard")
    assert "  current_status: discarded\n" in shell.run("submit", "f", "flag", code=4).stderr
    shell.json("undo", "f")
    editor(shell, "edited")
    script = Path(shell.variables["EDITOR"])
    decide = f"AVOCET_ADDRESS={served.address} {BIN}/avocet submit f discard && {BIN}/avocet undo f"
    script.write_text(script.read_text().replace("sleep 0.01;", f"({decide}) > {shell.home}/meanwhile;"))
    stderr = shell.run("submit", "f", code=4).stderr
    assert f"  current_revision: {shell.json('show', 'f')['revision']}\n" in stderr and f"{now}\n" not in stderr
    (path,) = re.findall(r"Your correction is kept in (\S+)", stderr)
    assert Path(path).read_text().partition("\n")[2] == "edited"
    Path(path).unlink()


@pytest.mark.parametrize("arguments", [("export",), ("ingest", "-"), ("stats",)])
def test_a_service_that_is_not_there_is_told_and_not_waited_for(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.variables["AVOCET_ADDRESS"] = "127.0.0.1:1"
    assert "Is the service there?" in shell.run(*arguments, code=6).stderr


def test_settings_come_from_flags_then_variables_then_the_file(shell: Shell, served: Server) -> None:
    shell.variables = {}
    shell.run("stats", "--address", "127.0.0.1:1", code=6)
    file = shell.home / ".config" / "avocet" / "client.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'address = "{served.address}"\ntoken = "{SECRET}"\n')
    assert shell.json("health") == {"status": "SERVING"}
    shell.variables = {"AVOCET_ADDRESS": "127.0.0.1:1"}
    shell.run("stats", code=6)
    assert shell.json("stats", "--address", served.address)["revision"] > 0
    file.write_text("adress = 1\n")
    assert "adress" in shell.run("stats", code=2).stderr
    file.write_text("= 1\n")
    assert "not valid TOML" in shell.run("stats", code=2).stderr
    file.write_text("address = 50051\n")
    assert "address must be a string" in shell.run("stats", code=2).stderr


def test_statistics_have_bars(shell: Shell) -> None:
    out = shell.run("stats").stdout
    assert "status" in out and "Heron 7B" in out and "█" in out
    assert shell.json("stats", "--source", "nobody")["total"] == 0


def test_an_export_is_written_in_each_format(shell: Shell) -> None:
    keys = {"all": "id", "sft": "completion", "preference": "chosen", "kto": "label", "openai": "messages"}
    whole = len(shell.run("export").stdout.splitlines())
    for format, key in keys.items():
        rows = [json.loads(line) for line in shell.run("export", "--format", format).stdout.splitlines()]
        assert len(rows) >= APPROVED and all(key in row for row in rows)
    out = shell.home / "out.jsonl"
    done = shell.json("export", "-o", str(out))
    assert (done["examples"], done["rows"]) == (whole, whole)
    assert len(out.read_text().splitlines()) == whole
    parts = [shell.run("export", "--shard", f"{n}/3").stdout.splitlines() for n in range(3)]
    assert sorted(line for part in parts for line in part) == sorted(out.read_text().splitlines())
    sides = [shell.run("export", "--split", side).stdout.splitlines() for side in ("train", "validation")]
    assert sum(map(len, sides)) == whole


def test_an_export_tells_its_rows_and_its_examples_apart(shell: Shell) -> None:
    to_stdout = shell.run("export", "--format", "kto", "--out", "-")
    rows = len(to_stdout.stdout.splitlines())
    examples = shell.json("stats")["export_ready"]
    assert rows > examples
    assert to_stdout.stderr.startswith(f"{rows:,} rows of {examples:,} examples of revision ")
    assert not (shell.home / "-").exists()
    out = shell.home / "kto.jsonl"
    assert f"{rows:,} rows of {examples:,} examples" in shell.run("export", "--format", "kto", "-o", str(out)).stdout
    assert len(out.read_text().splitlines()) == rows


@pytest.mark.parametrize("flags", ["--out out.jsonl", "> out.jsonl"])
def test_an_export_shows_its_progress_in_a_terminal(shell: Shell, flags: str) -> None:
    ready = shell.json("stats")["export_ready"]
    command = ["sh", "-c", f"cd {shell.home} && exec {BIN}/avocet export {flags}"]
    terminal = Terminal(command, os.environ | shell.variables | {"HOME": str(shell.home), "TERM": "xterm"})
    try:
        terminal.read_until(f"{ready}/{ready}")
        assert terminal.end() == 0
    finally:
        terminal.close()
    assert len((shell.home / "out.jsonl").read_text().splitlines()) == ready


@pytest.mark.parametrize(
    "arguments", [("export",), ("stats", "--json"), ("stats",), ("queue",), ("submit", "f", "flag"), ("health",)]
)
def test_a_reader_that_goes_away_is_no_error(shell: Shell, arguments: tuple[str, ...]) -> None:
    gone, output = os.pipe()
    os.close(gone)
    environment = os.environ | shell.variables | {"HOME": str(shell.home)}
    done = subprocess.run(
        [BIN / "avocet", *arguments], env=environment, stdout=output, stderr=subprocess.PIPE, timeout=60
    )
    os.close(output)
    assert (done.returncode, done.stderr) == (141, b"")


def test_corrections_are_ingested_one_and_many(shell: Shell) -> None:
    one = ("ingest", "--source", "cli", "--task-type", "t", "--prompt", "p", "--correction", "c", "--request-id", "r")
    assert shell.json(*one)["created"] is True
    assert "was stored before" in shell.run(*one).stdout
    common = {"source": "cli", "task_type": "t", "correction": "c"}
    lines = [json.dumps(common | {"prompt": f"p{n}", "request_id": f"q{n}"}) for n in range(450)]
    assert json.loads(shell.run("ingest", "-", "--json", stdin="\n".join(lines)).stdout)["stored"] == 450
    file = shell.home / "many.jsonl"
    file.write_text("\n".join([*lines, json.dumps(common | {"prompt": "p", "source": ""})]))
    done = shell.run("ingest", str(file), code=1)
    assert "0 stored, 450 stored before, 1 refused" in done.stdout and "line 451" in done.stderr


def test_a_line_that_is_no_correction_is_refused_by_its_number_and_the_others_are_stored(shell: Shell) -> None:
    good = {"source": "cli", "task_type": "t", "prompt": "p", "correction": "c", "label": None}
    others = [good | {"prompt": 1}, good | {"colour": "blue"}, good | {"prompt": "\ud800"}, [1], good | {"source": ""}]
    lines = [*(json.dumps(line) for line in (good, *others)), "", '{"torn', json.dumps(good)]
    done = shell.run("ingest", "-", "--json", code=1, stdin="\n".join(lines))
    found = json.loads(done.stdout)
    assert (found["stored"], [each["line"] for each in found["refused"]]) == (2, [2, 3, 4, 5, 6, 8])
    assert "prompt must be a string" in found["refused"][0]["error"]


def test_what_is_wrong_with_a_line_is_told_in_the_words_of_the_file_and_not_of_python(shell: Shell) -> None:
    lines = ['{"source": "s", "colour": 1}', '{"source": "s", "prompt": null}', "[" * 100_000, "[1]", '{"torn']
    told = shell.run("ingest", "-", code=1, stdin="\n".join(lines)).stderr.splitlines()
    may = "source, task_type, prompt, correction, response, label, request_id"
    assert told == [
        f"line 1: it has colour; a correction may have {may}",
        "line 2: it lacks task_type and prompt and correction",
        "line 3: it is nested too deeply",
        "line 4: it is not a JSON object",
        "line 5: it is not JSON at character 2: Unterminated string starting at",
    ]


def test_what_was_stored_before_a_failure_is_told(shell: Shell) -> None:
    shell.variables["AVOCET_TOKEN"] = "wrong"
    done = shell.run("ingest", "-", code=5, stdin='{"source": "s", "task_type": "t", "prompt": "p", "correction": "c"}')
    assert "0 stored" in done.stdout and "token" in done.stderr
