"""TLS, client certificates and tokens, over both clients and the command line."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from avocet_client import CorrectionsClient, Tls, TokenMissing, TokenRefused, TransportError, Unauthorized
from tests.client.conftest import Make
from tests.operate.support import new_token
from tests.support import BIN, Server


@dataclass
class Files:
    """PEM files: the server's authority, and a client's certificate with its key."""

    roots: Path
    certificate: Path
    key: Path
    token: str

    def tls(self) -> Tls:
        return Tls.from_files(roots=str(self.roots), certificate=str(self.certificate), key=str(self.key))


@pytest.fixture
def files(stopped_server: Server, tmp_path: Path) -> Files:
    """Starts the server with TLS, client certificates and tokens."""
    ca = trustme.CA()
    ours, theirs = ca.issue_cert("localhost", "127.0.0.1"), ca.issue_cert("client@example.org")
    paths = {name: tmp_path / f"{name}.pem" for name in ("roots", "cert", "key", "client_cert", "client_key")}
    ca.cert_pem.write_to_path(paths["roots"])
    ours.cert_chain_pems[0].write_to_path(paths["cert"])
    ours.private_key_pem.write_to_path(paths["key"])
    theirs.cert_chain_pems[0].write_to_path(paths["client_cert"])
    theirs.private_key_pem.write_to_path(paths["client_key"])
    tokens = tmp_path / "tokens.yaml"
    token = new_token(tokens, "kim", "reader", "export", "ingest")
    stopped_server.environment = {
        "AVOCET_TLS_CERT": str(paths["cert"]),
        "AVOCET_TLS_KEY": str(paths["key"]),
        "AVOCET_TLS_CLIENT_CA": str(paths["roots"]),
        "AVOCET_TOKENS_FILE": str(tokens),
    }
    stopped_server.start()
    return Files(paths["roots"], paths["client_cert"], paths["client_key"], token)


def test_calls_and_streams_go_over_tls_with_a_token(make_client: Make, stopped_server: Server, files: Files) -> None:
    client = make_client(stopped_server.address, token=files.token, tls=files.tls())
    assert client.ingest(source="s", task_type="t", prompt="p", correction="c").created
    assert client.stats().export_ready == 1
    assert [example.messages[-1].content for example in client.export()] == ["c"]


def test_without_token_role_or_certificate_a_call_is_refused(
    make_client: Make, stopped_server: Server, files: Files
) -> None:
    with pytest.raises(TokenMissing):
        make_client(stopped_server.address, tls=files.tls()).stats()
    with pytest.raises(TokenRefused):
        make_client(stopped_server.address, tls=files.tls(), token="wrong").stats()
    with pytest.raises(Unauthorized):
        make_client(stopped_server.address, tls=files.tls(), token=files.token).set_config(bench_results_dir="")
    for tls in (Tls.from_files(roots=str(files.roots)), Tls(), None):
        with pytest.raises(TransportError):
            make_client(stopped_server.address, tls=tls, token=files.token).stats()


def test_a_certificate_without_its_key_is_refused_before_the_call(files: Files) -> None:
    with pytest.raises(ValueError, match="private key"):
        CorrectionsClient("localhost:1", tls=Tls(certificate_chain=files.certificate.read_bytes())).stats()
    assert "PRIVATE" not in repr(files.tls())


def test_the_command_line_takes_the_files_from_its_settings(
    stopped_server: Server, files: Files, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"address": stopped_server.address, "token": files.token, "ca": str(files.roots)}
    settings |= {"cert": str(files.certificate), "key": str(files.key)}
    file = tmp_path / "avocet" / "client.toml"
    file.parent.mkdir()
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    for command in ("stats", "health"):
        done = subprocess.run(
            [str(BIN / "avocet"), command, "--json"],
            env={"XDG_CONFIG_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
