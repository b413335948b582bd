"""Records shaped like public data sets, to files that trainers load: every format, whole, in strict JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from avocet_client import CorrectionsClient, to_dict, to_kto, to_openai, to_preference, to_sft
from avocet_client.cli.export import RENDERERS, Format
from avocet_client.cli.session import Exit
from avocet_client.v1 import corrections_pb2 as pb
from tests.support import BIN, ROOT, Json, Server, record, write_records

RUN = "2025-03-04-120000"
TOOLS = [
    {"type": "function", "function": {"name": "add", "parameters": {"a": {"default": float("nan")}}}},
    {"type": "function", "function": {"name": "now", "parameters": {"zone": {"default": "\ud800"}}}},
]
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}]
SHAPES: dict[str, Json] = {
    # Conversations as ShareGPT and its descendants have them, tools in a string.
    "sharegpt": {
        "prompt_messages": [
            {"from": "system", "value": "You have tools."},
            {"from": "human", "value": "2+2?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2}}'},
            {"from": "observation", "value": "4"},
        ],
        "tools": json.dumps(TOOLS),
    },
    # Chat with tools as OpenAI's files have it.
    "openai": {
        "prompt_messages": [
            {"role": "user", "content": [{"type": "text", "text": "2+2?"}], "name": "kim"},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "call_1", "content": "4"},
        ],
        "tools": TOOLS,
        "model_response": {"role": "assistant", "content": None, "tool_calls": CALLS},
    },
    # A preference set whose sides differ by blanks alone, one that has two sides, and one of parts.
    "dpo-same": {"prompt_messages": "2+2?", "model_response": " four\n", "corrected_response": "four"},
    "dpo": {"prompt_messages": {"messages": [{"role": "user", "content": "2+2?"}]}, "model_response": "five"},
    "parts": {"prompt_messages": "2+2?", "model_response": [{"type": "text", "text": "fi\ud83d"}, float("inf")]},
    # Instructions without a conversation, a spreadsheet's number, and text with half a character.
    "number": {"prompt_messages": "2+2?", "corrected_response": 4, "model_response": ""},
    "half": {"prompt_messages": [{"role": "user", "content": "\udfff?", "\ud800": [float("-inf")]}]},
    "none": {"prompt_messages": None},
    "odd": {"prompt_messages": [{"question": "2+2?"}]},
}
PAIRS = ["sharegpt", "openai", "dpo", "parts", "half", "none"]
EXPORTED = [id for id in SHAPES if id != "odd"]


def shape(id: str) -> Json:
    return record(id, benchmark_run_id=RUN, model_response="five", quality_score=float("nan")) | SHAPES[id]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that imported all shapes as one run, each corrected by a reviewer: the first with a tool call."""
    server = Server(tmp_path_factory.mktemp("shapes"))
    (server.runs / RUN).mkdir()
    write_records(server.runs / RUN / "sft_candidates.jsonl", [shape(id) for id in SHAPES])
    server.start()
    server.set_runs_directory()
    assert server.stub.Import(pb.ImportRequest(run_id=RUN)).imported == len(SHAPES)
    assert [item.id for item in server.stub.Queue(pb.QueueRequest(per_page=100)).items] == list(SHAPES)
    with CorrectionsClient(server.address) as client:
        for id in SHAPES:
            message = {"role": "assistant", "content": None, "tool_calls": CALLS}
            correction: Any = {"corrected_message": message} if id == "sharegpt" else {"corrected_response": "four"}
            client.submit(id, action="correct", **correction)
    yield server
    server.kill()


def read_strictly(path: Path) -> list[Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not strict JSON")

    text = path.read_text(encoding="ascii")
    assert "\\ud8" not in text.lower() and "\\udf" not in text.lower()
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize("format", list(Format))
def test_every_format_is_strict_json_and_loads_whole(served: Server, tmp_path: Path, format: Format) -> None:
    with CorrectionsClient(served.address) as client:
        client.export().write_jsonl(tmp_path / "rows.jsonl", render=RENDERERS[format])
    rows = read_strictly(tmp_path / "rows.jsonl")
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / "rows.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == len(rows) >= len(PAIRS)
    for row, again in zip(rows, loaded, strict=True):
        assert {key: again[key] for key in row} == row
    assert not any("\ud800" <= c <= "\udfff" for c in str(list(loaded)))


def test_keys_that_come_late_in_a_large_file_are_loaded_as_the_readme_says(tmp_path: Path) -> None:
    readme = (ROOT / "clients/python/README.md").read_text()
    assert "chunksize=1 << 30" in readme
    plain = {"messages": [{"role": "user", "content": "x" * 1_000}]}
    late = {"messages": [{"role": "user", "content": "x", "name": "n"}], "tools": "[]"}
    with (tmp_path / "rows.jsonl").open("w") as file:
        for row in (*[plain] * 11_000, late):
            file.write(json.dumps(row) + "\n")
    loaded = datasets.load_dataset(
        "json",
        data_files=str(tmp_path / "rows.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
        chunksize=1 << 30,
    )
    assert len(loaded) == 11_001
    assert (loaded[-1]["tools"], loaded[-1]["messages"][0]["name"]) == ("[]", "n")


def test_each_shape_gives_the_rows_that_it_means(served: Server) -> None:
    with CorrectionsClient(served.address) as client:
        examples = {example.id: example for example in client.export()}
    assert list(examples) == EXPORTED
    assert [id for id in EXPORTED if to_preference(examples[id])] == PAIRS
    assert [len(to_kto(examples[id])) for id in EXPORTED] == [1 + (id in PAIRS) for id in EXPORTED]
    assert to_sft(examples["sharegpt"])["completion"] == [{"role": "assistant", "tool_calls": CALLS}]
    assert [tool["function"]["name"] for tool in to_sft(examples["sharegpt"])["tools"]] == ["add", "now"]
    assert to_sft(examples["none"])["prompt"] == []
    assert to_dict(examples["number"])["messages"][-1]["content"] == "four"
    pair = to_preference(examples["openai"])
    assert pair is not None and pair["rejected"][0]["tool_calls"] == CALLS
    weights = [(turn["role"], turn.get("weight")) for turn in to_openai(examples["sharegpt"])["messages"]]
    assert weights == [("system", None), ("user", None), ("assistant", 0), ("tool", None), ("assistant", 1)]


def export(served: Server, *arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet"), "export", "--address", served.address, "--format", "openai", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def complaints(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("avocet: ")]


def test_rows_that_openai_refuses_are_named_and_written(served: Server, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    said = export(served, "--out", str(out), code=0).stderr
    assert f"refuses 1 of {len(EXPORTED)} rows" in said
    assert f"row {EXPORTED.index('half') + 1}: messages[0].\ufffd: the format has no such key" in said
    assert len(read_strictly(out)) == len(EXPORTED)
    assert complaints(said) == complaints(export(served, code=0).stderr)


def test_a_strict_export_ends_with_an_error_and_the_file_does_not_appear(served: Server, tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    export(served, "--strict", "--out", str(out), code=Exit.NOT_VALID)
    assert not out.exists()
    assert len(read_strictly(tmp_path / "rows.jsonl.refused")) == len(EXPORTED)
    export(served, "--strict", code=Exit.NOT_VALID)
    assert not export(served, "--strict", "--out", str(out), "--task-type", "none", code=0).stderr.strip("\n")
    assert out.exists()
