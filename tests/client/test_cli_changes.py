"""`avocet watch --state`, links and questions: what a user finds again after a command was ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avocet_client import CorrectionsClient
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.terminal import HEED_INTERRUPTS, Terminal
from tests.client.test_batch import served, shell
from tests.client.test_cli import Shell
from tests.support import BIN, PATIENCE_S, Server, record, write_records

__all__ = ["served", "shell"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_watch_with_a_state_that_saw_nothing_yet_misses_nothing(
    shell: Shell, served: Server, how: signal.Signals
) -> None:
    served.correct("c0")
    state = shell.home / "w.json"
    environment = os.environ | shell.variables | {"HOME": str(shell.home)}
    command = [sys.executable, "-c", HEED_INTERRUPTS, str(BIN / "avocet"), "watch", "--state", str(state)]
    watch = subprocess.Popen(command, env=environment)
    until = time.monotonic() + PATIENCE_S
    while not state.exists() and time.monotonic() < until:
        time.sleep(0.05)
    watch.send_signal(how)
    watch.wait(PATIENCE_S)
    served.correct("c1")
    told = shell.run("watch", "--state", str(state), "-n", "1", "--json").stdout
    assert json.loads(told)["id"] == "c1"
    assert [path.name for path in shell.home.iterdir() if path.name.startswith(".w")] == []


def test_a_question_that_is_broken_off_is_an_interruption(shell: Shell, served: Server) -> None:
    served.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="first"))
    variables = os.environ | shell.variables | {"HOME": str(shell.home), "TERM": "xterm"}
    terminal = Terminal([str(BIN / "avocet"), "snapshot", "delete", "first"], variables)
    try:
        terminal.read_until("cannot be had back")
        terminal.press("\x03")
        assert terminal.end() == 130
    finally:
        terminal.close()
    assert served.stub.GetSnapshot(pb.GetSnapshotRequest(name="first")).snapshot.name == "first"


def test_an_upload_has_the_name_of_its_directory_and_not_of_what_a_link_leads_to(shell: Shell, served: Server) -> None:
    store, run = shell.home / "store" / "ab12", shell.home / "nightly-7"
    store.mkdir(parents=True)
    run.mkdir()
    write_records(store / "data.jsonl", [record("c0", model_response="another")])
    (run / "sft_candidates.jsonl").symlink_to("../store/ab12/data.jsonl")
    shell.run("upload", str(run), "--on-conflict", "qualify")
    assert served.stub.GetCandidate(pb.GetCandidateRequest(id="nightly-7/c0")).candidate.id == "nightly-7/c0"


def test_a_download_is_not_continued_with_another_nameless_renderer(
    served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avocet_client.jsonl.CHECKPOINT_SECONDS", 0.0)
    for n in range(6):
        served.correct(f"c{n}")
    path = tmp_path / "t.jsonl"

    def broken(example: pb.TrainingExample) -> dict[str, str]:
        raise KeyboardInterrupt

    with CorrectionsClient(served.address) as client:
        rows = iter([True, True, False])
        with pytest.raises(KeyboardInterrupt):
            client.export().write_jsonl(path, render=lambda e: {"a": e.id} if next(rows) else broken(e))
        assert path.with_name("t.jsonl.part.state").exists()
        client.export().write_jsonl(path, render=lambda e: {"b": e.id})
    assert [list(json.loads(line)) for line in path.read_text().splitlines()] == [["b"]] * 6
