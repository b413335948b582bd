"""The legacy front beside the legacy service: the same requests to both, the same bodies, codes and files at rest."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.operate.support import new_token
from tests.support import SECRET, Server, eventually, make_run, record, records, write_records
from tests.web.legacy_service import LegacyService, served
from tests.web.support import Answer, ask, ask_json, avocet, legacy_front

RUN = "2025-03-02-120000"
INGESTED = {"source": "kiwi", "task_type": "sum", "prompt": "1+1?", "response": "3", "correction": "2"}
SECRETS = {"authorization": f"Bearer {SECRET}"}


@dataclass
class Pair:
    """The front and the legacy service, each with files of its own that began alike."""

    front: str
    legacy: str
    server: Server
    old: LegacyService

    def both(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[Answer, Answer]:
        return tuple(ask_json(address, method, path, body, **headers) for address in (self.front, self.legacy))  # type: ignore[return-value]


def start(directory: Path, candidates: list[Any], secret: str = SECRET) -> Iterator[Pair]:
    server, old = Server(directory / "new", secret or None), LegacyService(directory / "old", secret)
    old.candidates.parent.mkdir()
    for path in (server.candidates, old.candidates):
        write_records(path, candidates)
    make_run(server.runs, RUN, count=4)
    with (server.runs / RUN / "sft_candidates.jsonl").open("a") as file:
        file.write(json.dumps(record("c00", model_response="other", benchmark_run_id=RUN)) + "\n")
    server.start()
    try:
        with legacy_front(directory / "front", server.address) as front, served(old) as legacy:
            yield Pair(front, legacy, server, old)
    finally:
        server.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    candidates = [record(f"c{n:02d}") for n in range(30)]
    candidates[3] |= {"status": "pending"}
    candidates[4] |= {"product_id": 7, "elapsed_ms": 1.5, "nested": {"a": [1, None, "é"]}}
    candidates[5] |= {"quality_score": 1, "failure_category": "wrong_answer", "label": None, "failure_reason": ""}
    candidates[9] = {"status": "needs_review", "gpu_id": "x", "prompt_messages": "bare", "text": "\ud800", "id": "c09"}
    yield from start(tmp_path, candidates)


CASES: list[tuple[str, str, Any, dict[str, str]]] = [
    ("GET", "/queue", None, {}),
    ("GET", "/queue?page=2&per_page=7", None, {}),
    ("GET", "/queue?page=1&per_page=1000", None, {}),
    ("GET", "/queue?page=9&per_page=20", None, {}),
    ("GET", "/queue?per_page=0", None, {}),
    ("GET", "/queue?page=x", None, {}),
    ("GET", "/stats", None, {}),
    ("GET", "/config", None, {}),
    ("GET", "/runs", None, {}),
    ("GET", "/export", None, {}),
    ("GET", "/nothing", None, {}),
    ("POST", "/submit", {"id": "c00", "action": "correct", "corrected_response": "Blue é \u2028 scatters."}, {}),
    (
        "POST",
        "/submit",
        {"id": "c01", "action": "correct", "corrected_response": "b", "failure_category": "wrong_answer"},
        {},
    ),
    ("POST", "/submit", {"id": "c02", "action": "discard", "failure_category": None, "other": 1}, {}),
    ("POST", "/submit", {"id": "c04", "action": "flag"}, {}),
    ("POST", "/submit", {"id": "c06", "action": "correct", "corrected_response": "to be undone"}, {}),
    ("POST", "/submit", {"id": "c07", "action": "discard"}, {}),
    ("POST", "/submit", {"id": "c00", "action": "discard"}, {}),
    ("POST", "/submit", {"id": "c03", "action": "discard"}, {}),
    ("POST", "/submit", {"id": "none", "action": "discard"}, {}),
    ("POST", "/submit", {"id": "", "action": "discard"}, {}),
    ("POST", "/submit", {"id": "x" * 600, "action": "discard"}, {}),
    ("POST", "/submit", {"id": "c08", "action": "correct"}, {}),
    ("POST", "/submit", {"id": "c08", "action": "correct", "corrected_response": " \n"}, {}),
    ("POST", "/submit", {"id": "c08", "action": "correct", "corrected_response": 4}, {}),
    ("POST", "/submit", {"id": "c08", "action": "delete"}, {}),
    ("POST", "/submit", {"id": "c08", "action": "flag", "failure_category": "ugly"}, {}),
    ("POST", "/submit", {"id": 8, "action": "flag"}, {}),
    ("POST", "/submit", {"action": "flag"}, {}),
    ("POST", "/submit", ["c08"], {}),
    ("POST", "/submit", b"{", {}),
    ("POST", "/undo", {"id": "c06"}, {}),
    ("POST", "/undo", {"id": "c07"}, {}),
    ("POST", "/undo", {"id": "c08"}, {}),
    ("POST", "/undo", {"id": "none"}, {}),
    ("POST", "/undo", {}, {}),
    ("POST", "/ingest", INGESTED, SECRETS),
    ("POST", "/ingest", INGESTED | {"label": "easy", "response": ""}, SECRETS),
    ("POST", "/ingest", INGESTED, {}),
    ("POST", "/ingest", INGESTED, {"authorization": "Basic eDp5"}),
    ("POST", "/ingest", INGESTED, {"authorization": "Bearer wrong"}),
    ("POST", "/ingest", {"source": "kiwi"}, {}),
    ("POST", "/import", {"run_id": RUN}, {}),
    ("POST", "/config", {"bench_results_dir": "RUNS"}, {}),
    ("GET", "/config", None, {}),
    ("GET", "/runs", None, {}),
    ("POST", "/import", {"run_id": RUN}, {}),
    ("POST", "/import", {"run_id": RUN}, {}),
    ("POST", "/import", {"run_id": "2000-01-01-000000"}, {}),
    ("POST", "/import", {"run_id": "../elsewhere"}, {}),
    ("POST", "/import", {}, {}),
    ("GET", "/runs", None, {}),
    ("GET", "/stats", None, {}),
    ("GET", "/queue?per_page=100", None, {}),
    ("GET", "/export", None, {}),
]


def without_nulls(value: Any) -> Any:
    """The value without null members: an undo of the legacy service leaves some."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def comparable(answer: Answer) -> Any:
    """What both answers must have in common: a sentence may differ, and an ingested record's id."""
    if answer.status != 200:
        return list(answer.json)
    if answer.headers["content-type"].startswith("application/x-ndjson"):
        return [json.loads(line) for line in answer.body.splitlines()]
    body = answer.json
    return {key: len(value) if key == "id" else value for key, value in body.items()} if "id" in body else body


@pytest.mark.parametrize("prefix", ["/api/corrections", "/api/sft"])
def test_the_same_requests_get_the_same_answers_and_leave_the_same_files(pair: Pair, prefix: str) -> None:
    undone = False
    for method, path, body, headers in CASES:
        if body == {"bench_results_dir": "RUNS"}:
            body = {"bench_results_dir": str(pair.server.runs)}
        new, old = pair.both(method, prefix + path, body, **headers)
        case = f"{method} {path} {body}"
        assert new.status == old.status, f"{case}: {new.body!r}"
        assert new.headers["content-type"].partition(";")[0] == old.headers["content-type"], case
        alike = without_nulls if undone else lambda answer: answer
        undone = undone or path == "/undo"
        assert alike(comparable(new)) == alike(comparable(old)), case
    assert pair.server.stop() == 0
    for new_file, old_file in (
        (pair.server.candidates, pair.old.candidates),
        (pair.server.approved, pair.old.approved),
    ):
        assert at_rest(new_file) == at_rest(old_file)


def at_rest(path: Path) -> list[Any]:
    """The records, without what the service adds to a decided one and what no two services share."""
    found: list[Any] = without_nulls(records(path))
    for each in found:
        each.pop("reviewed_at", None)
        if each.get("source") == "kiwi":
            each |= {"id": len(each["id"]), "timestamp": len(each["timestamp"])}
    return found


def test_an_export_is_a_download_with_the_time_in_its_name(pair: Pair) -> None:
    pair.both("POST", "/api/sft/ingest", INGESTED, **SECRETS)
    answer = ask_json(pair.front, "GET", "/api/sft/export")
    assert re.fullmatch(r'attachment; filename="sft_export_\d{8}-\d{6}\.jsonl"', answer.headers["content-disposition"])
    assert list(answer.json) == ["messages"]


def test_a_record_with_nan_is_served_with_null(pair: Pair) -> None:
    with pair.server.candidates.open("a") as file:
        file.write('{"id": "nan", "status": "needs_review", "quality_score": NaN, "x": [Infinity]}\n')

    def served_item() -> Any:
        items = ask_json(pair.front, "GET", "/api/sft/queue?per_page=100").json["items"]
        return next((item for item in items if item["id"] == "nan"), None)

    item = eventually(served_item)
    assert item["quality_score"] is None and item["x"] == [None]


def test_ingest_without_a_secret_is_503_on_both(tmp_path: Path) -> None:
    for pair in start(tmp_path, [], secret=""):
        new, old = pair.both("POST", "/api/corrections/ingest", INGESTED, **SECRETS)
        assert new.status == old.status == 503


@pytest.mark.parametrize(
    ("count", "size", "paths"),
    [
        (1_100, 10, ["page=1&per_page=1000", "page=2&per_page=1000", "page=2&per_page=503", "page=2&per_page=550"]),
        (12, 600_000, ["page=1&per_page=8", "page=2&per_page=8"]),
    ],
    ids=["beyond 500 records", "beyond 3 MB"],
)
def test_a_page_beyond_the_services_limits_is_whole(tmp_path: Path, count: int, size: int, paths: list[str]) -> None:
    for pair in start(tmp_path, [record(f"c{n:04d}", model_response="x" * size) for n in range(count)]):
        for query in paths:
            new, old = (answer.json for answer in pair.both("GET", f"/api/sft/queue?{query}"))
            assert [item["id"] for item in new["items"]] == [item["id"] for item in old["items"]], query
            assert new["items"] and new["total"] == old["total"] == count


DECISION = json.dumps({"id": "c00", "action": "discard"}).encode()
JSON = {"content-type": "application/json"}
FORGED: dict[str, tuple[dict[str, str], int]] = {
    "a foreign origin": (JSON | {"origin": "https://evil.example"}, 403),
    "an opaque origin": (JSON | {"origin": "null"}, 403),
    "another port's origin": (JSON | {"origin": "http://127.0.0.1:1"}, 403),
    "a page of another site": (JSON | {"sec-fetch-site": "cross-site"}, 403),
    "a page of a sibling site": (JSON | {"sec-fetch-site": "same-site"}, 403),
    "a rebound name": (JSON | {"host": "evil.example"}, 403),
    "a rebound name with our port": (JSON | {"host": "evil.example:8080", "origin": "http://evil.example:8080"}, 403),
    "plain text": ({"content-type": "text/plain"}, 403),
    "a form": ({"content-type": "application/x-www-form-urlencoded"}, 403),
    "no content type": ({}, 403),
    "XML": ({"content-type": "application/xml"}, 415),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_decision_is_refused_and_stores_nothing(quiet_front: tuple[str, Server], kind: str) -> None:
    address, server = quiet_front
    headers, status = FORGED[kind]
    answer = ask(address, "POST", "/api/sft/submit", DECISION.replace(b"c00", b"a"), headers)
    assert answer.status == status and answer.json["detail"]
    assert dict(server.stats().by_status) == {"needs_review": 1}


@pytest.fixture(scope="module")
def quiet_front(quiet_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    with legacy_front(tmp_path_factory.mktemp("front"), quiet_server.address) as address:
        yield address, quiet_server


def test_a_rebound_name_reads_nothing(quiet_front: tuple[str, Server]) -> None:
    assert ask(quiet_front[0], "GET", "/api/sft/queue", headers={"host": "evil.example"}).status == 403
    assert ask(quiet_front[0], "GET", "/api/sft/queue", headers={"host": "localhost:8080"}).status == 200


def test_a_page_of_the_same_origin_decides(pair: Pair) -> None:
    headers = JSON | {"origin": f"http://{pair.front}", "sec-fetch-site": "same-origin"}
    assert ask(pair.front, "POST", "/api/sft/submit", DECISION, headers).status == 200


def test_a_page_of_a_stated_origin_decides_and_any_other_does_not(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, [record("c00")])
    with legacy_front(tmp_path, server.address, "--allow-origin", "https://label.example") as address:
        headers = JSON | {"host": "label.example", "sec-fetch-site": "cross-site"}
        assert (
            ask(address, "POST", "/api/sft/undo", DECISION, headers | {"origin": "https://evil.example"}).status == 403
        )
        allowed = headers | {"origin": "https://label.example"}
        assert ask(address, "POST", "/api/sft/undo", DECISION, allowed).status in (404, 409)


def test_a_caller_without_a_token_calls_with_the_fronts_and_one_with_a_token_with_its_own(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    tokens = tmp_path / "tokens.yaml"
    reviewer, reader = (new_token(tokens, name, name) for name in ("reviewer", "reader"))
    server.environment["AVOCET_TOKENS_FILE"] = str(tokens)
    write_records(server.candidates, [record("c00")])
    server.start()
    try:
        with legacy_front(tmp_path / "front", server.address, token=reviewer) as address:
            decide: Callable[..., Answer] = lambda **headers: ask_json(  # noqa: E731
                address, "POST", "/api/sft/submit", json.loads(DECISION), **headers
            )
            assert decide(authorization=f"Bearer {reader}").status == 403
            assert decide(authorization="Basic eDp5").status == 401
            assert decide().status == 200
        with legacy_front(tmp_path / "bare", server.address) as address:
            assert ask_json(address, "GET", "/api/sft/queue").status == 401
    finally:
        server.kill()


def test_the_front_answers_503_while_the_service_is_away_and_serves_again_after(pair: Pair) -> None:
    port = pair.server.address
    pair.server.kill()
    for path in ("queue", "stats", "runs", "config"):
        assert ask_json(pair.front, "GET", f"/api/sft/{path}").status == 503
    assert ask_json(pair.front, "POST", "/api/sft/undo", {"id": "c00"}).status == 503
    pair.server.listen = port
    pair.server.start()
    assert eventually(lambda: ask_json(pair.front, "GET", "/api/sft/queue").status == 200)


def test_sigterm_stops_the_front_cleanly_and_a_taken_port_is_named(quiet_server: Server, tmp_path: Path) -> None:
    with avocet(tmp_path, "legacy", "--listen", "127.0.0.1:0", "--address", quiet_server.address) as (process, _, err):
        address = eventually(lambda: err.read_text().partition("listening on ")[2].strip(), within=30)
        with avocet(tmp_path / "second", "legacy", "--listen", address) as (second, _, said):
            assert second.wait(timeout=30) == 2
            assert "in use" in said.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
        assert "Traceback" not in err.read_text()
