"""Odd requests to the legacy front: each gets JSON with a `detail`, and none writes a traceback."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import SECRET, Server, eventually
from tests.web.support import Answer, ask, ask_json, legacy_front

HALF = "caf\ud83d"
INGESTED = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "response": "3", "correction": "2"}
JSON = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
DEEPEST = 500


@dataclass
class Front:
    address: str
    server: Server
    log: Path

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return ask(self.address, "POST", f"/api/sft{path}", json.dumps(body).encode(), JSON | headers)

    def get(self, path: str, **headers: str) -> Answer:
        return ask_json(self.address, "GET", f"/api/sft{path}", **headers)


@pytest.fixture
def front(server: Server, tmp_path: Path) -> Iterator[Front]:
    deep = '{"a":' * (DEEPEST - 1) + "[]" + "}" * (DEEPEST - 1)
    records = [
        '{"id": "half", "status": "needs_review", "model_response": "caf\\ud83d"}',
        '{"id": "nan", "status": "needs_review", "quality_score": NaN, "x": [Infinity, -Infinity, 1e999, 1.5, NaN]}',
        '{"id": "deep", "status": "needs_review", "d": ' + deep.removeprefix('{"a":').removesuffix("}") + "}",
    ]
    server.candidates.write_text("\n".join(records) + "\n")
    eventually(lambda: server.stats().total == 3)
    with legacy_front(tmp_path / "front", server.address) as address:
        yield Front(address, server, tmp_path / "front" / "stderr")
    assert "Traceback" not in (tmp_path / "front" / "stderr").read_text()


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/submit", {"id": "half", "action": "correct", "corrected_response": HALF}, "corrected_response"),
        ("/submit", {"id": HALF, "action": "discard"}, "id"),
        ("/undo", {"id": HALF}, "id"),
        ("/import", {"run_id": HALF}, "run_id"),
        ("/config", {"bench_results_dir": f"/{HALF}"}, "bench_results_dir"),
        *(("/ingest", INGESTED | {name: HALF}, name) for name in (*INGESTED, "label")),
    ],
)
def test_half_a_character_is_a_fault_of_its_field(front: Front, path: str, body: Any, field: str) -> None:
    answer = front.post(path, body)
    assert answer.status == 422, answer.body
    (fault,) = answer.json["detail"]
    assert fault["loc"] == ["body", field] and "character" in fault["msg"]
    assert dict(front.server.stats().by_status) == {"needs_review": 3}


def test_a_page_with_nan_beside_the_deepest_record_has_null_in_its_place(front: Front) -> None:
    items = {item["id"]: item for item in front.get("/queue").json["items"]}
    assert items["nan"]["quality_score"] is None and items["nan"]["x"] == [None, None, None, 1.5, None]
    assert items["half"]["model_response"] == HALF
    depth, value = 1, items["deep"]["d"]
    while value:
        depth, value = depth + 1, value["a"]
    assert depth == DEEPEST - 1


@pytest.mark.parametrize("token", ["é", "\xff", "a\tb", "x" * 20_000, "x" * 60_000], ids=lambda each: ascii(each[:4]))
def test_a_token_that_no_header_can_hold_is_a_wrong_one(front: Front, token: str) -> None:
    for answer in (
        front.get("/stats", authorization=f"Bearer {token}"),
        front.post("/ingest", INGESTED, authorization=f"Bearer {token}"),
    ):
        assert answer.status in (401, 400), answer.body
        if answer.status == 400:  # a head of 64 kB is not read
            assert len(token) > 50_000
        else:
            assert "token" in answer.json["detail"]
    assert dict(front.server.stats().by_status) == {"needs_review": 3}


def test_texts_of_the_services_limit_are_taken_however_they_are_escaped(front: Front) -> None:
    body = INGESTED | {"prompt": "é" * 3_900_000, "response": "\u0001" * 3_900_000}
    assert len(json.dumps(body)) > 45_000_000
    answer = front.post("/ingest", body)
    assert answer.status == 200, answer.body[:200]


def test_a_body_beyond_what_the_service_takes_is_refused_with_the_limit(front: Front) -> None:
    answer = front.post("/ingest", INGESTED | {"prompt": "x" * 18_000_000})
    assert answer.status == 413 and "17,000,000 bytes" in answer.json["detail"]
    answer = front.post("/ingest", INGESTED | {"prompt": "x" * 16_900_000})
    assert answer.status == 413 and "16,777,216" in answer.json["detail"]
    answer = ask(front.address, "POST", "/api/sft/ingest", b" " * 103_000_000, JSON)
    assert answer.status == 413 and "102,000,000 bytes" in answer.json["detail"]


def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_traceback(front: Front) -> None:
    host, port = front.address.split(":")
    with socket.create_connection((host, int(port))) as caller:
        head = "POST /api/sft/undo HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        caller.sendall(f"{head}content-length: 100\r\n\r\n{{".encode())
    assert front.get("/stats").status == 200
