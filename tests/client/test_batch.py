"""`avocet batch`: decisions from a file, at a real server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from avocet_client import CorrectionsClient
from avocet_client.cli.lookup import look_up
from avocet_client.v1 import corrections_pb2 as pb
from tests.client.fake import FakeServer
from tests.client.test_cli import Shell
from tests.client.test_team_commands import jsonl
from tests.operate.support import new_token
from tests.support import SECRET, Server, record, write_records


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    write_records(server.candidates, [record(f"c{n}") for n in range(6)])
    yield server.start()
    server.kill()


@pytest.fixture
def shell(served: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"AVOCET_ADDRESS": served.address, "AVOCET_TOKEN": SECRET})


GOOD = [
    {"id": "c0", "action": "correct", "corrected_response": "better", "failure_category": "wrong_answer"},
    {"id": "c1", "action": "discard", "reviewer": "lou"},
    {"id": "c2", "action": "correct", "corrected_message": {"role": "assistant", "tool_calls": [{"id": "1"}]}},
]
BAD = [
    {"id": "c3"},
    {"id": "c3", "action": "paint"},
    {"id": "c3", "action": "correct", "corrected_response": " "},
    {"id": "c3", "action": "discard", "colour": "blue"},
    {"id": 3, "action": "discard"},
    {"id": "c3", "action": "discard", "expected_revision": "1"},
    {"id": "c3", "action": "discard", "expected_revision": 2**70},
    {"id": "c3", "action": "flag", "failure_category": "ugly"},
    {"id": "c3", "action": "discard", "reviewer": "\ud800"},
    [1],
    {"id": "nobody", "action": "discard"},
    {"id": "c3", "action": "discard", "expected_revision": 7},
]


def test_a_batch_decides_each_good_line_and_tells_each_bad_one_by_its_number(shell: Shell) -> None:
    lines = jsonl(*GOOD) + "\n{torn\n" + jsonl(*BAD)
    told = json.loads(shell.run("batch", "-", "--reviewer", "kim", "--json", stdin=lines, code=1).stdout)
    assert (told["decided"], told["decided_before"]) == (3, 0)
    assert [each["line"] for each in told["failed"]] == list(range(5, 6 + len(BAD)))
    assert [each["reason"] for each in told["failed"]][-2:] == ["CANDIDATE_NOT_FOUND", "REVISION_MISMATCH"]
    assert (shell.json("show", "c0")["reviewed_by"], shell.json("show", "c1")["reviewed_by"]) == ("kim", "lou")
    assert shell.json("show", "c3")["status"] == "needs_review"
    said = shell.run("batch", "-", stdin=lines, code=1).stderr
    assert "line 5: no id: it is not JSON at character 2: Expecting" in said


def test_a_batch_is_safe_to_repeat_and_what_was_decided_otherwise_is_told(shell: Shell) -> None:
    file = shell.home / "decisions.jsonl"
    file.write_text(jsonl(*GOOD))
    would = shell.json("batch", str(file), "--dry-run")
    assert (would["decided"], would["dry_run"]) == (3, True)
    assert shell.json("show", "c0")["status"] == "needs_review"
    assert "3 decided, 0 decided so before, 0 refused" in shell.run("batch", str(file)).stdout
    revision = shell.json("stats")["revision"]
    assert "0 decided, 3 decided so before, 0 refused" in shell.run("batch", str(file)).stdout
    assert shell.json("batch", str(file), "--dry-run")["decided_before"] == 3
    assert shell.json("stats")["revision"] == revision
    other = jsonl({"id": "c1", "action": "flag"}, {"id": "c0", "action": "correct", "corrected_response": "otherwise"})
    assert "line 1: c1:" in shell.run("batch", "-", stdin=other, code=1).stderr
    assert "c0: it is approved already" in shell.run("batch", "-", "--dry-run", stdin=other, code=1).stderr


def test_a_batch_of_revisions_is_safe_to_repeat_too(shell: Shell) -> None:
    revision = shell.json("show", "c1")["revision"]
    lines = jsonl({"id": "c1", "action": "discard", "expected_revision": revision})
    assert "1 decided, 0 decided so before, 0 refused" in shell.run("batch", "-", stdin=lines).stdout
    for flags in ((), ("--dry-run",)):
        assert ", 1 decided so before, 0 refused" in shell.run("batch", "-", *flags, stdin=lines).stdout


def test_a_dry_run_heeds_earlier_lines_and_claims_of_others(shell: Shell, served: Server) -> None:
    served.stub.Claim(pb.ClaimRequest(reviewer="lou", limit=1))
    lines = jsonl(
        {"id": "c0", "action": "discard"},
        {"id": "c1", "action": "discard", "reviewer": "kim"},
        {"id": "c1", "action": "discard", "reviewer": "kim"},
        {"id": "c1", "action": "flag", "reviewer": "kim"},
        {"id": "nobody", "action": "flag"},
    )
    would = shell.run("batch", "-", "--dry-run", "--reviewer", "kim", stdin=lines, code=1)
    assert "1 would be decided, 1 decided so before, 3 refused" in would.stdout
    assert "line 1: c0: lou holds it" in would.stderr and "line 4: c1: an earlier line decides it" in would.stderr
    assert "line 5: nobody: No candidate has this id." in would.stderr
    done = shell.run("batch", "-", "--reviewer", "kim", stdin=lines, code=1)
    assert "1 decided, 1 decided so before, 3 refused" in done.stdout


class Counting(CorrectionsClient):
    """A client that counts its calls."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.made: Counter[str] = Counter()

    def _carry_out(self, call: Any) -> Any:
        self.made[call.method] += 1
        return super()._carry_out(call)


def test_many_candidates_are_looked_up_by_pages_and_few_of_a_large_store_one_by_one(
    shell: Shell, served: Server
) -> None:
    lines = [json.dumps(record(f"m{n}")) for n in range(2_000)]
    shell.run("upload", "-", "--run-id", "many", stdin="\n".join(lines))
    with Counting(served.address) as client:
        found = look_up(client, [f"m{n}" for n in range(1_000)] + ["nobody", "c1"])
        assert set(found) == {f"m{n}" for n in range(1_000)} | {"c1"}
        assert client.made["GetCandidate"] == 1 and client.made["ListCandidates"] <= 5
        client.made.clear()
        assert set(look_up(client, ["m1999", "nobody"])) == {"m1999"}
        assert client.made["GetCandidate"] == 2 and client.made["ListCandidates"] == 1
        client.made.clear()
        assert list(look_up(client, ["m7"])) == ["m7"] and look_up(client, []) == {}
        assert client.made == {"GetCandidate": 1}


def test_a_batch_gives_up_on_an_outage_as_soon_as_it_is_told_to_and_can_be_run_again(
    shell: Shell, served: Server
) -> None:
    def behave(name: str, request: Any, context: Any) -> Any:
        if name == "BatchSubmit":
            context.abort(grpc.StatusCode.UNAVAILABLE, "midway")
        return getattr(served.stub, name)(request)

    away = FakeServer(behave)
    try:
        address = ("--address", away.address)
        stdin = jsonl(*GOOD)
        told = shell.run("batch", "-", "--retry-for", "0", *address, stdin=stdin, code=6).stderr
    finally:
        away.close()
    assert "midway" in told and "--request-id" in told
    assert away.attempts["BatchSubmit"] <= 4, "gRPC's own retries alone"
    assert "3 decided" in shell.run("batch", "-", stdin=stdin).stdout


def test_a_batch_with_a_request_id_is_decided_once_even_after_an_undo(shell: Shell) -> None:
    file = shell.home / "decisions.jsonl"
    file.write_text(jsonl({"id": "c1", "action": "discard"}))
    for _ in range(2):
        assert shell.json("batch", str(file), "--request-id", "mine")["decided"] == 1
        shell.run("undo", "c1", code=0 if shell.json("show", "c1")["status"] == "discarded" else 4)
    assert shell.json("show", "c1")["status"] == "needs_review"


def test_a_batch_of_more_than_one_piece_is_decided_whole(shell: Shell) -> None:
    lines = [json.dumps(record(f"m{n}")) for n in range(1_050)]
    shell.run("upload", "-", "--run-id", "many", stdin="\n".join(lines))
    decisions = jsonl(*({"id": f"m{n}", "action": "discard"} for n in range(1_050)))
    assert json.loads(shell.run("batch", "-", "--json", stdin=decisions).stdout)["decided"] == 1_050
    assert shell.json("stats")["by_status"]["discarded"] == 1_050


def test_a_batch_that_cannot_be_read_or_sent_changes_nothing(shell: Shell) -> None:
    shell.run("batch", str(shell.home / "nowhere"), code=2)
    assert "0 decided, 0 decided so before, 1 refused" in shell.run("batch", "-", stdin="{", code=1).stdout
    shell.variables["AVOCET_ADDRESS"] = "127.0.0.1:1"
    assert "Is the service there?" in shell.run("batch", "-", stdin=jsonl(*GOOD), code=6).stderr


def test_a_dry_run_knows_the_claims_of_the_callers_own_token(tmp_path: Path) -> None:
    server, tokens = Server(tmp_path), tmp_path / "tokens.yaml"
    write_records(server.candidates, [record("c0"), record("c1")])
    token = new_token(tokens, "kim", "reviewer")
    server.environment = {"AVOCET_TOKENS_FILE": str(tokens)}
    server.start()
    try:
        with CorrectionsClient(server.address, token=token) as client:
            assert len(client.claim(limit=1)) == 1
        shell = Shell(tmp_path, {"AVOCET_ADDRESS": server.address, "AVOCET_TOKEN": token, "LOGNAME": "k.meyer"})
        would = shell.run("batch", "-", "--dry-run", "--json", stdin='{"id": "c0", "action": "flag"}').stdout
        assert json.loads(would)["decided"] == 1
    finally:
        server.kill()
