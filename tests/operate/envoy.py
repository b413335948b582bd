"""The real Envoy, run with deploy/envoy.yaml; only its name, addresses and certificates are a test's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.operate.test_docs import free_port
from tests.support import BIN, ROOT, eventually

CONFIG = ROOT / "deploy" / "envoy.yaml"
PAGE = ROOT / "clients/python/avocet_client/web/page"
NAME = "corrections.example"


def program() -> str:
    """The path of Envoy. Skips the test if there is none."""
    found = shutil.which("envoy", path=f"{BIN.parent / 'envoy/bin'}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("LEFT OUT: Envoy is not here; 'make setup-envoy' installs it")
    return found


def adapted(port: str, certificates: Path, servers: list[str]) -> Any:
    """The configuration, with the port, the directory of the PEM files and the servers' addresses of a test."""
    text = CONFIG.read_text().replace(NAME, f"localhost:{port}")
    text = text.replace("/etc/envoy/tls", str(certificates)).replace("/etc/envoy/page", str(PAGE))
    config = yaml.safe_load(text)
    del config["admin"]
    resources = config["static_resources"]
    listener, cluster = resources["listeners"][0], resources["clusters"][0]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": int(port)}
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    assert len(endpoints["lb_endpoints"]) == 2
    endpoints["lb_endpoints"] = [{"endpoint": {"address": {"socket_address": _socket(one)}}} for one in servers]
    return config


def _socket(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"address": host, "port_value": int(port)}


@contextmanager
def envoy(directory: Path, certificates: Path, servers: list[str]) -> Iterator[str]:
    """Envoy in front of these servers; gives `localhost:PORT`."""
    port = free_port()
    path = directory / "envoy.json"
    path.write_text(json.dumps(adapted(port, certificates, servers)))
    log = directory / "envoy.log"
    command = [program(), "-c", str(path), "--log-level", "warning", "--use-dynamic-base-id", "--concurrency", "1"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with open(f"/proc/{process.pid}/net/tcp") as table:
                return any(f":{int(port):04X} " in line.split()[1] + " " and " 0A " in line for line in list(table)[1:])

        eventually(listens, within=30)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)
