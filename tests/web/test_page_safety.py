"""Hostile texts, huge texts and foreign pages: in a real Chromium nothing of them runs, leaves, freezes or decides."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, eventually, record, write_records
from tests.web.browser_programs import Program, page_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]
RUN = "(globalThis.ran ??= []).push"
OUTSIDE = "http://127.0.0.2:9"
HOSTILE = f"""hostile <script>{RUN}("script")</script> <img src=x onerror='{RUN}("img")'>
<svg onload='{RUN}("svg")'></svg> <iframe srcdoc="<script>parent.ran = ['iframe']</script>"></iframe>
<details open ontoggle='{RUN}("details")'>d</details>
<img src="{OUTSIDE}/pixel"> <link rel=stylesheet href="{OUTSIDE}/css"> <style>@import "{OUTSIDE}/import";</style>
<form action="{OUTSIDE}"><button>send</button></form> <object data="{OUTSIDE}/object"></object>
<base href="{OUTSIDE}/">
<div style="background:url({OUTSIDE}/style)">styled</div> <video poster="{OUTSIDE}/poster"></video>

![beacon]({OUTSIDE}/markdown.png) [click](javascript:{RUN}("link"))
[data](data:text/html,<script>{RUN}("data")</script>)
[ref]: javascript:{RUN}("ref")
[auto][ref] <javascript:{RUN}("auto")> [safe](https://example.org/a"onmouseover="{RUN}("quote"))
\x1b]0;title\x07\x1b[2J ‮reversed {{{{constructor.constructor("{RUN}('template')")()}}}}
"""


FIELDS = ("failure_reason", "task_type", "task_name", "model_name", "source", "benchmark_run_id", "label", "timestamp")
PROMPT = [{"role": role, "content": HOSTILE, "name": HOSTILE} for role in ("system", "user", "tool", HOSTILE)]
VIEWS = "search?text=hostile candidate?id=decided decided stats snapshots runs"


def test_hostile_text_in_every_field_and_every_view_runs_nothing_and_sends_nothing(
    server: Server, tmp_path: Path
) -> None:
    fields = dict.fromkeys((*FIELDS, "model_response", "reviewed_by"), HOSTILE)
    tools = [{"type": "function", "function": {"name": HOSTILE}}]
    hostile = record("hostile" + HOSTILE[:400], prompt_messages=PROMPT, tools=tools, **fields)
    decided = record("decided", prompt_messages=PROMPT, **fields)
    write_records(server.candidates, [hostile, decided])
    (server.runs / "hostile<svg onload=alert(1)>").mkdir()
    (server.runs / "hostile<svg onload=alert(1)>" / "sft_candidates.jsonl").write_text("not JSON\n")
    eventually(lambda: server.stats().total == 2)
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir=str(server.runs))))
    correction = pb.SubmitRequest(id="decided", action=pb.ACTION_CORRECT, corrected_response=HOSTILE)
    correction.reviewer = HOSTILE[:900]
    server.stub.Submit(correction)
    server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name="one", note=HOSTILE[:900]))
    with page_of(server, tmp_path) as address, Program("hostile.mjs", address, AVOCET_VIEWS=VIEWS) as browser:
        (found,) = browser.lines()
    assert found == {"ran": [], "outside": [], "dialogs": [], "elements": [], "messages": []}


def test_texts_of_100_kb_are_compared_and_edited_and_freeze_nothing(server: Server, tmp_path: Path) -> None:
    text = " ".join(f"word{n:05d}" for n in range(10_000))
    prompt = [{"role": role, "content": HOSTILE * 70} for role in ("system", "user")]
    fields = dict.fromkeys(FIELDS, HOSTILE * 70)
    write_records(server.candidates, [record("large", prompt_messages=prompt, model_response=text, **fields)])
    eventually(lambda: server.stats().total == 1)
    with page_of(server, tmp_path) as address, Program("large.mjs", address) as browser:
        assert browser.lines() == [["few changes", 1], ["approved", True], ["seen", [], [], []]]
    (approved,) = next(iter(server.stub.StreamExport(pb.StreamExportRequest()))).examples
    assert approved.messages[-1].content.endswith(" and more")


def test_the_same_text_on_a_page_without_safeguards_runs_and_sends(tmp_path: Path) -> None:
    text = json.dumps(HOSTILE).replace("<", "\\u003c")
    page = f"<!doctype html><main></main><script>document.querySelector('main').innerHTML = {text}</script>"
    with plain_server(page) as address, Program("hostile.mjs", address, AVOCET_CONTROL="1") as browser:
        (found,) = browser.lines()
    assert found["ran"] and found["outside"] and found["elements"]


@contextmanager
def plain_server(page: str) -> Iterator[str]:
    """A page of another origin, without any policy; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/"
    finally:
        serving.shutdown()
        serving.server_close()
