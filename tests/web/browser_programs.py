"""Programs that drive a real Chromium, and what they are driven against: the bridge of one machine, a team's Envoy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.envoy import envoy
from tests.operate.support import Bearer, new_token
from tests.support import ROOT, Json, Server, eventually, write_records
from tests.web.support import web_bridge

PROGRAMS = Path(__file__).parent / "browser"
PACKAGE = ROOT / "clients" / "web"
FULL = os.environ.get("BROWSER") == "full"


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
        assert self._process.returncode == 0, out
        return [json.loads(line) for line in out.splitlines()]

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def page_of(server: Server, directory: Path) -> Iterator[str]:
    with web_bridge(directory / "web", server.address, "--reviewer", "kim") as address:
        yield f"{address}/"


@dataclass(frozen=True)
class Front:
    """A way from a browser to a server: the page's address, and what a program needs to enter there."""

    address: str
    server: Server
    stubs: dict[str, Any]
    """Calls of kim, who reviews, and of lee."""
    variables: dict[str, dict[str, str]]
    """What the programs of kim and lee are started with."""

    def program(self, name: str, who: str = "kim") -> Program:
        return Program(name, self.address, **self.variables[who])


@contextmanager
def behind_bridge(directory: Path, records: list[Json]) -> Iterator[Front]:
    """`avocet web` over a server with these records in review."""
    server = _filled(directory, records).start()
    try:
        eventually(lambda: server.stats().total == len(records))
        with page_of(server, directory) as address:
            yield Front(address, server, dict.fromkeys(("kim", "lee"), server.stub), {"kim": {}, "lee": {}})
    finally:
        server.kill()


@contextmanager
def behind_envoy(directory: Path, records: list[Json]) -> Iterator[Front]:
    """Envoy over TLS, and behind it a server with TLS and tokens."""
    authority = trustme.CA()
    for name, host in (("", "localhost"), ("server-", "corrections.internal")):
        made = authority.issue_cert(host)
        made.cert_chain_pems[0].write_to_path(directory / f"{name}cert.pem")
        made.private_key_pem.write_to_path(directory / f"{name}key.pem")
    authority.cert_pem.write_to_path(directory / "servers-ca.pem")
    tokens = {name: new_token(directory / "tokens.yaml", name, "reviewer") for name in ("kim", "lee")}
    server = _filled(directory / "server", records)
    server.environment = {
        "AVOCET_TLS_CERT": str(directory / "server-cert.pem"),
        "AVOCET_TLS_KEY": str(directory / "server-key.pem"),
        "AVOCET_TOKENS_FILE": str(directory / "tokens.yaml"),
    }
    server.start()
    variables = {who: {"AVOCET_TYPED_TOKEN": token, "AVOCET_TLS": "untrusted"} for who, token in tokens.items()}
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    named = [("grpc.ssl_target_name_override", "corrections.internal")]
    try:
        with (
            grpc.secure_channel(server.address, credentials, named) as channel,
            envoy(directory, directory, [server.address]) as address,
        ):
            stubs = {who: Bearer(channel, token) for who, token in tokens.items()}
            eventually(lambda: stubs["kim"].Stats(pb.StatsRequest()).total == len(records))
            yield Front(f"https://{address}/", server, stubs, variables)
    finally:
        server.kill()


def _filled(directory: Path, records: list[Json]) -> Server:
    server = Server(directory)
    write_records(server.candidates, records)
    return server


FRONTS = {"bridge": behind_bridge, "envoy": behind_envoy}


def lease_of(responses: list[list[int]], id: str) -> str:
    """The newest lease id of a candidate in the answers to `Claim` that a browser recorded."""
    found = ""
    for response in responses:
        body = bytes(response)
        message = pb.ClaimResponse.FromString(body[5 : 5 + int.from_bytes(body[1:5], "big")])
        found = next((claim.lease_id for claim in message.claims if claim.candidate.id == id), found)
    assert found
    return found
