"""The review page in a real Chromium, through `avocet web`."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import ROOT, Server, eventually, record, write_records
from tests.web.support import web_bridge
from tests.web.test_bridge import DECISION, SERVICE

PROGRAMS = Path(__file__).parent / "browser"
PACKAGE = ROOT / "clients" / "web"
PAGE = ROOT / "clients/python/avocet_client/web/page"
BUDGET_BYTES = 90_000
FULL = os.environ.get("BROWSER") == "full"
SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
"""A directory that gets pictures of the page."""
COUNT = 50 if FULL else 12
pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]


def chromium() -> str:
    """The browser's path. Skips the test if it, or what drives it, is not here."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None or not (PACKAGE / "node_modules/playwright-core").is_dir():
        pytest.skip("LEFT OUT: the page's tests need Chromium and playwright-core; 'make setup-browser' installs them")
    return found


class Program:
    """A program that drives the browser, line by line."""

    def __init__(self, name: str, address: str, **variables: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AVOCET_")} | {
            "AVOCET_PAGE": address,
            "AVOCET_CHROMIUM": chromium(),
            "AVOCET_WEB_PACKAGE": f"{PACKAGE}/",
        }
        self._process = subprocess.Popen(
            ["node", str(PROGRAMS / name)],
            env=environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"it ended with {self._process.wait()}"
        return json.loads(line)

    def go_on(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def lines(self) -> list[Any]:
        out, _ = self._process.communicate(timeout=240)
        assert self._process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def page_of(server: Server, directory: Path) -> Iterator[str]:
    with web_bridge(directory / "web", server.address) as address:
        yield f"{address}/"


def test_what_is_typed_right_after_the_key_of_the_editor_is_text(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, [record(f"c{n}", model_response="") for n in range(4)])
    eventually(lambda: server.stats().total == 4, within=10)
    with page_of(server, tmp_path) as address, Program("ahead.mjs", address) as browser:
        assert browser.lines() == [["dfsu", "c0"]]
    assert dict(server.stats().by_status) == {"needs_review": 4}


def test_a_reviewer_with_a_keyboard_alone_decides_everything(server: Server, tmp_path: Path) -> None:
    write_records(server.candidates, [record(f"c{n:02d}", model_response=f"Answer {n}.") for n in range(COUNT)])
    eventually(lambda: server.stats().total == COUNT, within=10)
    with page_of(server, tmp_path) as address, Program("review.mjs", address) as reviewer:
        assert reviewer.said() == ["first", "c00", True]
        assert "".join(reviewer.said()[1]) == " And blue light scatters most."
        assert reviewer.said() == ["corrected", "c01"]
        assert reviewer.said() == ["skipped", "c03", "c04"]
        assert reviewer.said() == ["undone", "Answer 0. And blue light scatters most.", True]
        assert reviewer.said() == ["draft", "c01", "a draft of mine d f s u"]
        assert dict(server.stats().by_status) == {"needs_review": COUNT - 1, "discarded": 1}
        server.listen = server.address
        server.kill()
        reviewer.go_on()
        assert reviewer.said() == ["away", "a draft of mine d f s u"]
        server.start()
        reviewer.go_on()
        assert reviewer.said() == ["stored after the restart", "c02"]
        server.stub.Submit(pb.SubmitRequest(id="c02", action=pb.ACTION_FLAG))
        reviewer.go_on()
        where, shown, told = reviewer.said()
        assert (
            (where, shown) == ("conflict", "c03")
            and "Somebody else" in told
            and "c02: it is now model rejected" in told
        )
        assert reviewer.said() == ["done", "Nothing is left to review"]
        assert reviewer.said() == ["statistics", [f"By {of}" for of in COUNTED]]
        assert reviewer.said() == ["seen", [], [], []]
    counts = dict(server.stats().by_status)
    assert counts.pop("approved") == 1 and sum(counts.values()) == COUNT - 1 and "needs_review" not in counts
    (approved,) = next(iter(server.stub.StreamExport(pb.StreamExportRequest()))).examples
    assert (approved.id, approved.messages[-1].content) == ("c01", "a draft of mine d f s u")


COUNTED = ("status", "model", "task type", "source", "failure category")
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


def test_hostile_text_in_every_field_runs_nothing_and_sends_nothing(server: Server, tmp_path: Path) -> None:
    fields = ["model_response", "failure_reason", "task_type", "task_name", "model_name", "source", "benchmark_run_id"]
    prompt = [{"role": role, "content": HOSTILE, "name": HOSTILE} for role in ("system", "user", "tool")]
    hostile = record("hostile" + HOSTILE[:400], prompt_messages=prompt, **dict.fromkeys(fields, HOSTILE))
    write_records(server.candidates, [hostile])
    eventually(lambda: server.stats().total == 1, within=10)
    with page_of(server, tmp_path) as address, Program("hostile.mjs", address) as browser:
        (found,) = browser.lines()
    assert found == {"ran": [], "outside": [], "dialogs": [], "elements": [], "messages": []}


def test_texts_of_100_kb_are_compared_and_edited(server: Server, tmp_path: Path) -> None:
    text = " ".join(f"word{n:05d}" for n in range(10_000))
    write_records(server.candidates, [record("large", model_response=text)])
    eventually(lambda: server.stats().total == 1, within=10)
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


def test_a_foreign_page_that_knows_the_address_decides_nothing_and_frames_nothing(
    server: Server, tmp_path: Path
) -> None:
    write_records(server.candidates, [record("a")])
    eventually(lambda: server.stats().total == 1, within=10)
    with page_of(server, tmp_path) as address, plain_server("<p>foreign</p>") as foreign:
        target = f"{address}{SERVICE}/Submit"
        variables = {
            "AVOCET_FOREIGN": foreign,
            "AVOCET_TARGET": target,
            "AVOCET_BODY": json.dumps(list(DECISION)),
        }
        with Program("foreign.mjs", address, **variables) as browser:
            ((outcomes, frames),) = browser.lines()
    assert outcomes == ["refused"] * 4
    assert frames == [] or all(not frame.startswith(address) for frame in frames)
    assert dict(server.stats().by_status) == {"needs_review": 1}


def test_the_page_is_legible_for_everybody_in_light_and_dark_wide_and_narrow(server: Server, tmp_path: Path) -> None:
    response = "The sky is **blue** because of the `sea`:\n\n- it reflects\n- it is [deep](https://example.org/sea)\n"
    write_records(server.candidates, [record(f"c{n}", model_response=response) for n in range(3)])
    eventually(lambda: server.stats().total == 3, within=10)
    variables = {"AVOCET_SCREENSHOTS": SCREENSHOTS} if SCREENSHOTS else {}
    with page_of(server, tmp_path) as address, Program("look.mjs", address, **variables) as browser:
        found = browser.lines()
    assert len(found) == 16
    for scheme, width, view, violations, is_too_wide, messages in found:
        assert (violations, is_too_wide, messages) == ([], False, []), f"{scheme} {width} {view}"


def test_the_page_is_small_and_loads_nothing_from_elsewhere() -> None:
    files = sorted(PAGE.iterdir())
    assert [path.name for path in files] == ["app.css", "app.js", "index.html"]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= BUDGET_BYTES
    index = (PAGE / "index.html").read_text()
    assert "http" not in index and "<style" not in index and index.count("<script") == 1
