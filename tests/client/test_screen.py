"""What a model or another program wrote reaches a terminal as text, and the output never fails for a character."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocet_client.cli.screen import visible
from avocet_client.cli.session import READS
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.terminal import Terminal
from tests.support import BIN, ROOT, SECRET, Server, record, write_records

HOSTILE = "\x1b]0;title\x07\x1b[2Jhidden\x08\x08\r\x9b31m\x7f\u202eevil\u2066\U000e0041\u200b"
SHOWN = r"\x1b]0;title\x07\x1b[2Jhidden\x08\x08\r\x9b31m\x7f\u202eevil\u2066\U000e0041\u200b"
SHOWN = SHOWN.replace("\\r", "\\x0d")
SEEN_FORMATS = {
    0x0600,
    0x0601,
    0x0602,
    0x0603,
    0x0604,
    0x0605,
    0x06DD,
    0x070F,
    0x0890,
    0x0891,
    0x08E2,
    0x110BD,
    0x110CD,
}
"""Unicode's format characters that are drawn: signs of Arabic and Kaithi numbers, and the like."""
JOINERS = {0x200C, 0x200D}
SHOWS = [
    ("queue",),
    ("show", "bad"),
    ("stats",),
    ("runs",),
    ("list",),
    ("history",),
    ("history", "three"),
    ("watch", "--since", "BEFORE", "--limit", "1"),
    ("snapshot", "list"),
    ("import", "RUN"),
    ("upload", "RUN_DIRECTORY"),
    ("batch", "DECISIONS", "--dry-run"),
]
CODES = {"batch": 1}
"""Of the commands that show what the service would refuse."""


HOW = ("text", "json")
WRITES: dict[str, list[str]] = {
    "submit": ["ID", "discard"],
    "undo": ["ID"],
    "batch": ["LINES"],
    "ingest": ["LINES"],
    "ingest --source": ["ID", "--task-type", "t", "--prompt", "p", "--correction", "c"],
    "import": ["ID"],
    "upload": ["RUN"],
    "snapshot create": ["NAME"],
    "snapshot delete": ["NAME", "--yes"],
    "config": ["--bench-results-dir", "PLACE"],
}
"""The commands that change the store, and what follows their names."""


def test_every_control_and_format_character_is_written_as_its_escape_and_nothing_else_is() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        acts = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in "\n\t"
        if unicodedata.category(character) == "Cn":
            continue  # a newer Unicode than this Python's may have it
        if code in SEEN_FORMATS | JOINERS:
            acts = False
        assert (visible(character) != character) == acts, hex(code)
    assert visible(HOSTILE) == SHOWN
    assert visible("a\r\nb\tc") == "a\nb\tc"


def test_texts_for_the_screen_are_made_in_one_place() -> None:
    for path in sorted((ROOT / "clients/python/avocet_client/cli").rglob("*.py")):
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module in ("rich.text", "rich.console", "rich.markup")
            for alias in node.names
        }
        if path.name != "screen.py":
            assert not imported & {"Text", "Console", "render"}, path.name


def test_each_method_that_is_said_to_change_nothing_exists_and_no_write_is_among_them() -> None:
    methods = {method.name for method in pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods}
    assert methods >= READS
    assert {"Submit", "Undo", "Import", "SetConfig", "Ingest", "StreamIngest"} <= methods - READS


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose texts are all hostile, and have characters that few encodings have."""
    server = Server(tmp_path_factory.mktemp("hostile"))
    text = HOSTILE + " sky 天 \U0001f426 [bold]not markup[/bold]"
    fields = {"model_response": text, "failure_reason": text, "task_type": text, "model_name": text, "source": text}
    messages = [{"role": text, "content": text, text: text}, {"role": "user", "content": [{"type": text}]}]
    write_records(
        server.candidates,
        [
            record("bad", prompt_messages=messages, **fields),
            *(record(id) for id in ("one", "two", "three")),
            *(record(f"{what}-{how}") for what in ("submit", "undo", "batch") for how in HOW),
        ],
    )
    server.start()
    reviewed = pb.SubmitRequest(id="three", action=pb.ACTION_CORRECT, corrected_response=text, reviewer=HOSTILE)
    server.stub.Submit(reviewed)
    server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="named", note=text))
    server.set_runs_directory()
    for run in (HOSTILE, *(f"{name}-{how}" for name in ("import", "upload") for how in HOW)):
        (server.runs / run).mkdir()
        write_records(server.runs / run / "sft_candidates.jsonl", [record(f"of {run}")])
    with (server.runs / HOSTILE / "sft_candidates.jsonl").open("a") as file:
        # Of other content each time, so that it is a conflict whose problem has the id.
        file.writelines(json.dumps(record(text, task_type=kind)) + "\n" for kind in ("one", "other"))
    write_records(server.directory / "decisions.jsonl", [{"id": text, "action": "discard"}, {"id": text, text: text}])
    yield server
    server.kill()


def command_of(server: Server, arguments: tuple[str, ...]) -> list[str]:
    """The command; BEFORE is the revision before the first change, the others are a run and a file of hostile texts."""
    first = server.stub.ListHistory(pb.ListHistoryRequest(oldest_first=True, page_size=1)).changes[0].revision
    run, decisions = server.runs / HOSTILE, server.directory / "decisions.jsonl"
    words = {"BEFORE": str(first - 1), "RUN": HOSTILE, "RUN_DIRECTORY": str(run), "DECISIONS": str(decisions)}
    return [str(BIN / "avocet"), *(words.get(one, one) for one in arguments)]


def environment(server: Server, home: Path, **changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AVOCET_", "XDG_", "LC_", "LANG"))}
    ours = {"AVOCET_ADDRESS": server.address, "AVOCET_TOKEN": SECRET, "HOME": str(home), "COLUMNS": "200"}
    return kept | ours | {"AVOCET_REVIEWER": "kim"} | changes


@pytest.mark.parametrize("arguments", SHOWS, ids=lambda each: each[0])
def test_control_characters_of_a_model_are_seen_and_do_nothing(
    hostile: Server, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    terminal = environment(hostile, tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    command = command_of(hostile, arguments)
    done = subprocess.run(command, env=terminal, capture_output=True, timeout=60)
    assert done.returncode == CODES.get(arguments[0], 0), done.stderr
    # The bar of an upload goes back to the start of its line.
    output = done.stdout.decode() + done.stderr.decode().replace("\r", "")
    assert not set(output) & set("\x07\x08\x0d\x7f\x9b\u202e\u2066\U000e0041\u200b")
    assert "\x1b]" not in output and "\x1b[2J" not in output
    if arguments[0] in ("show", "runs", "snapshot", "import", "upload", "batch"):
        assert "\\x1b]0;title\\x07" in output
    if arguments[0] == "show":
        assert SHOWN in output and "[bold]not markup[/bold]" in output


def test_a_review_shows_them_too(hostile: Server, tmp_path: Path) -> None:
    terminal = Terminal([str(BIN / "avocet"), "review"], environment(hostile, tmp_path, TERM="xterm"))
    try:
        screen = terminal.read_until("[q]uit")
        assert "\x1b]0;" not in screen and "\x07" not in screen and "\\x1b]0;title\\x07" in screen
    finally:
        terminal.close()


def test_an_error_of_the_service_shows_them_too(hostile: Server, tmp_path: Path) -> None:
    command = [str(BIN / "avocet"), "show", "no\x1b[2Jsuch\u202e"]
    done = subprocess.run(command, env=environment(hostile, tmp_path), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr and "\\x1b[2J" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize("arguments", [*SHOWS, ("--help",), ("export", "--help")], ids=lambda each: "-".join(each))
def test_no_encoding_of_the_output_makes_a_command_fail(
    hostile: Server, tmp_path: Path, arguments: tuple[str, ...], encoding: str
) -> None:
    narrow = environment(hostile, tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    done = subprocess.run(command_of(hostile, arguments), env=narrow, capture_output=True, timeout=60)
    assert done.returncode == CODES.get(arguments[0], 0), done.stderr
    if arguments[0] == "show":
        assert b"\\u5929" in done.stdout


def test_a_decision_whose_result_an_encoding_lacks_ends_well(hostile: Server, tmp_path: Path) -> None:
    narrow = environment(hostile, tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    command = [str(BIN / "avocet"), "submit", "one", "--text", "天 \U0001f426"]
    done = subprocess.run(command, env=narrow | {"LC_ALL": "C.UTF-8"}, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    one = hostile.stub.GetCandidate(pb.GetCandidateRequest(id="one")).candidate
    assert one.corrected_response == "天 \U0001f426"


def stored(server: Server, what: str, how: str) -> bool:
    """Whether the service has what a command of WRITES was to store."""
    stub, id = server.stub, f"{what}-{how}"
    if what == "config":
        return stub.GetConfig(pb.GetConfigRequest()).config.bench_results_dir == f"/srv/{how}"
    if what.startswith("snapshot"):
        named = {one.name for one in stub.ListSnapshots(pb.ListSnapshotsRequest()).snapshots}
        return (name_of(id) in named) == (what == "snapshot create")
    if "ingest" in what:
        return server.stats().by_source[id] == 1
    if what in ("import", "upload"):
        return stub.GetCandidate(pb.GetCandidateRequest(id=f"of {id}")).candidate.id == f"of {id}"
    status = stub.GetCandidate(pb.GetCandidateRequest(id=id)).candidate.status
    return status == (pb.CANDIDATE_STATUS_NEEDS_REVIEW if what == "undo" else pb.CANDIDATE_STATUS_DISCARDED)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", WRITES)
def test_a_stored_change_never_ends_with_2_if_its_result_cannot_be_written(
    hostile: Server, tmp_path: Path, what: str, how: str
) -> None:
    id, lines = f"{what}-{how}", tmp_path / "lines"
    if what == "snapshot delete":
        hostile.stub.CreateSnapshot(pb.CreateSnapshotRequest(name=name_of(id)))
    if what == "undo":
        hostile.stub.Submit(pb.SubmitRequest(id=id, action=pb.ACTION_DISCARD))
    correction = {"source": id, "task_type": "t", "prompt": "p", "correction": "c"}
    write_records(lines, [{"id": id, "action": "discard"} if what == "batch" else correction])
    words = {"ID": id, "NAME": name_of(id), "LINES": str(lines), "PLACE": f"/srv/{how}", "RUN": str(hostile.runs / id)}
    command = [str(BIN / "avocet"), *what.split()[:2], *(words.get(one, one) for one in WRITES[what])]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, *(["--json"] if how == "json" else [])],
            env=environment(hostile, tmp_path), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "look whether it was stored" in done.stderr and "Traceback" not in done.stderr
    assert stored(hostile, what, how)
    hostile.set_runs_directory()


def name_of(id: str) -> str:
    return id.replace(" ", "-")


def test_a_read_whose_result_cannot_be_written_ends_with_2(hostile: Server, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [str(BIN / "avocet"), "stats"]
        done = subprocess.run(
            command, env=environment(hostile, tmp_path), stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert done.returncode == 2


def test_lines_that_no_encoding_or_parser_reads_are_refused_and_the_others_are_stored(
    hostile: Server, tmp_path: Path
) -> None:
    good = json.dumps({"source": "cli", "task_type": "t", "prompt": "p", "correction": "c"}).encode()
    lines = b"\n".join([b"\xef\xbb\xbf" + good, b'{"source": "\xff\xfe"}', b"[" * 100_000, good])
    command = [str(BIN / "avocet"), "ingest", "-", "--json"]
    done = subprocess.run(command, input=lines, env=environment(hostile, tmp_path), capture_output=True, timeout=60)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["stored"], [each["line"] for each in found["refused"]]) == (2, [2, 3])
    assert found["refused"][0]["error"] == "it is not UTF-8 at byte 13"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_stop_a_command(hostile: Server, tmp_path: Path, closed: str) -> None:
    command = f"{BIN}/avocet stats {closed}"
    done = subprocess.run(["bash", "-c", command], env=environment(hostile, tmp_path), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
