"""A foreign page, a rebound host name and a forged POST, from a real Chromium: refused by every way in over HTTP."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.envoy import envoy
from tests.support import Server, record, write_records
from tests.web.browser_programs import Program, page_of
from tests.web.support import legacy_front

pytestmark = [pytest.mark.timeout(400), pytest.mark.xdist_group("browser")]
SERVICE = "avocet.corrections.v1.CorrectionsService"
_MESSAGE = pb.SubmitRequest(id="a", action=pb.ACTION_DISCARD).SerializeToString()
GRPC_WEB = (list(b"\0" + len(_MESSAGE).to_bytes(4, "big") + _MESSAGE), "application/grpc-web+proto")
JSON = (list(json.dumps({"id": "a", "action": "discard"}).encode()), "application/json")


@dataclass(frozen=True)
class Attack:
    """Where to send which decision, and which page or answer to read."""

    url: str
    body: list[int]
    type: str
    page: str
    read: str


@contextmanager
def bridge(server: Server, directory: Path) -> Iterator[Attack]:
    server.start()
    with page_of(server, directory) as address:
        yield Attack(f"{address}{SERVICE}/Submit", *GRPC_WEB, address, address)


@contextmanager
def team_proxy(server: Server, directory: Path) -> Iterator[Attack]:
    """Envoy over a server without tokens: nothing but Envoy itself can refuse."""
    authority = trustme.CA()
    for name, host in (("", "localhost"), ("server-", "corrections.internal")):
        made = authority.issue_cert(host)
        made.cert_chain_pems[0].write_to_path(directory / f"{name}cert.pem")
        made.private_key_pem.write_to_path(directory / f"{name}key.pem")
    authority.cert_pem.write_to_path(directory / "servers-ca.pem")
    server.environment = {
        "AVOCET_TLS_CERT": str(directory / "server-cert.pem"),
        "AVOCET_TLS_KEY": str(directory / "server-key.pem"),
    }
    server.start()
    with envoy(directory, directory, [server.address]) as address:
        yield Attack(f"https://{address}/{SERVICE}/Submit", *GRPC_WEB, f"https://{address}/", f"https://{address}/")


@contextmanager
def legacy(server: Server, directory: Path) -> Iterator[Attack]:
    server.start()
    with legacy_front(directory / "front", server.address) as address:
        there = f"http://{address}/api/sft"
        yield Attack(f"{there}/submit", *JSON, f"{there}/queue", f"{there}/queue")


FRONTS = {"bridge": bridge, "envoy": team_proxy, "legacy": legacy}


@pytest.mark.parametrize("front", FRONTS)
def test_a_foreign_page_and_a_rebound_name_decide_nothing_and_read_nothing(
    front: str, stopped_server: Server, tmp_path: Path
) -> None:
    write_records(stopped_server.candidates, [record("a")])
    way_in: AbstractContextManager[Attack] = FRONTS[front](stopped_server, tmp_path)
    with way_in as attack, listening() as (foreign, _):
        found = attacked(attack, foreign)
    # An opaque answer is one that a page cannot look into.
    assert {each.split()[0] for each in found["cross"]} <= {"refused", "opaque"}
    assert found["form"] == 403
    assert all(not frame.startswith(attack.page) for frame in found["frames"])
    assert set(found["rebound"]) == {"basic 403"}
    candidates = [json.loads(line) for line in stopped_server.candidates.read_text().splitlines()]
    assert [candidate["status"] for candidate in candidates] == ["needs_review"]
    assert stopped_server.stop() == 0
    (kept,) = [json.loads(line) for line in stopped_server.candidates.read_text().splitlines()]
    assert kept["status"] == "needs_review"


def test_the_same_pages_reach_a_server_that_refuses_nothing(tmp_path: Path) -> None:
    with listening() as (foreign, _), listening() as (open_server, posted):
        attack = Attack(f"{open_server}submit", *JSON, open_server, open_server)
        found = attacked(attack, foreign)
        sent = bytes(attack.body)
        assert [host for host, body in posted if body == sent and host.startswith("127.0.0.1")]
        assert [host for host, body in posted if body == sent and host.startswith("rebound.example")]
        assert [body for _, body in posted if body.rstrip() == sent[:12] + b"=" + sent[13:]]
    assert "basic 200" in found["rebound"] and found["frames"] == [open_server]


def attacked(attack: Attack, foreign: str) -> dict[str, Any]:
    variables = {"AVOCET_FOREIGN": foreign, "AVOCET_ATTACK": json.dumps(asdict(attack))}
    with Program("foreign.mjs", attack.page, **variables) as browser:
        (found,) = browser.lines()
    assert len(found["cross"]) == len(found["rebound"]) == 18
    return dict(found)


@contextmanager
def listening() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server without safeguards; gives its address, and the host and body of each POST."""
    posted: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            posted.append((self.headers.get("host", ""), self.rfile.read(length)))
            self._answer()

        def _answer(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<p>foreign</p>")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}/", posted
    finally:
        serving.shutdown()
        serving.server_close()
