"""Processes of `avocet` that serve HTTP, and a plain HTTP client that sends what a test states and nothing else."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import BIN, eventually


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    address: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request over a connection of its own. Header names are as the test has them."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def ask_json(address: str, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Send a JSON body, or none, as a well-behaved program does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "GET":
        return ask(address, method, path, headers=named)
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(address, method, path, sent, {"content-type": "application/json"} | named)


@contextmanager
def avocet(directory: Path, *arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """`avocet` with these arguments, until the block ends; gives its process and the files of its output."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AVOCET_", "XDG_"))}
    directory.mkdir(parents=True, exist_ok=True)
    out, err = directory / "stdout", directory / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [str(BIN / "avocet"), *arguments],
            env=kept | {"HOME": str(directory)} | variables,
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
        )
    try:
        yield process, out, err
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def legacy_front(directory: Path, service: str, *arguments: str, token: str = "") -> Iterator[str]:
    """`avocet legacy` over the service at this address; gives its own address."""
    flags = ["legacy", "--listen", "127.0.0.1:0", "--address", service, *arguments]
    with avocet(directory, *flags, **({"AVOCET_TOKEN": token} if token else {})) as (process, _, err):
        yield eventually(lambda: _after("listening on ", err, process), within=30)


@contextmanager
def web_bridge(directory: Path, service: str, *arguments: str, token: str = "") -> Iterator[str]:
    """`avocet web` over the service at this address; gives the printed address, with its key, without the last `/`."""
    flags = ["web", "--no-open", "--address", service, *arguments]
    with avocet(directory, *flags, **({"AVOCET_TOKEN": token} if token else {})) as (process, out, _):
        yield eventually(lambda: _after("", out, process), within=30).rstrip("/")


def _after(words: str, file: Path, process: subprocess.Popen[bytes]) -> str | None:
    text = file.read_text()
    found = [
        line[line.index(words) + len(words) :]
        for line in text.splitlines(keepends=True)
        if words in line and line[-1] == "\n"
    ]
    if not found and process.poll() is not None:
        raise RuntimeError(f"it ended with {process.returncode}:\n{text}")
    return found[0].strip() if found else None
