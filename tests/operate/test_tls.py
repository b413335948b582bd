"""TLS, client certificates, their rotation, and what is refused without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc
from tests.operate.support import Bearer, new_token, refused_start
from tests.support import Server, eventually


class Certificates:
    """A server's certificate files below `directory`, and the CA that made them."""

    def __init__(self, directory: Path) -> None:
        self.cert, self.key, self.client_ca = (directory / name for name in ("cert.pem", "key.pem", "clients.pem"))
        self.clients = trustme.CA()
        self.clients.cert_pem.write_to_path(self.client_ca)
        self.renew()

    def renew(self) -> None:
        """Another certificate, of another CA."""
        self.ca = trustme.CA()
        made = self.ca.issue_cert("localhost", "127.0.0.1")
        made.private_key_pem.write_to_path(self.key)
        made.cert_chain_pems[0].write_to_path(self.cert)

    def environment(self, mutual: bool = False) -> dict[str, str]:
        files = {"AVOCET_TLS_CERT": str(self.cert), "AVOCET_TLS_KEY": str(self.key)}
        return files | ({"AVOCET_TLS_CLIENT_CA": str(self.client_ca)} if mutual else {})

    def channel(self, address: str, ca: Any = None, client: Any = None) -> grpc.Channel:
        """A new channel that trusts the CA of the moment, and shows the client's certificate if one is given."""
        key = client.private_key_pem.bytes() if client else None
        chain = client.cert_chain_pems[0].bytes() if client else None
        credentials = grpc.ssl_channel_credentials((ca or self.ca).cert_pem.bytes(), key, chain)
        return grpc.secure_channel(address.replace("0.0.0.0", "127.0.0.1"), credentials)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def secure(stopped_server: Server, certificates: Certificates) -> Iterator[Server]:
    stopped_server.environment = certificates.environment()
    yield stopped_server.start()


def works(channel: grpc.Channel) -> bool:
    stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(channel)
    try:
        return bool(stub.Stats(pb.StatsRequest(), timeout=30).revision)
    except grpc.RpcError:
        return False
    finally:
        channel.close()


def test_calls_are_encrypted_and_plain_ones_are_refused(secure: Server, certificates: Certificates) -> None:
    assert works(certificates.channel(secure.address))
    assert not works(certificates.channel(secure.address, ca=trustme.CA()))
    assert not works(grpc.insecure_channel(secure.address))


def test_a_renewed_certificate_is_taken_up_and_a_torn_one_is_not(secure: Server, certificates: Certificates) -> None:
    standing = certificates.channel(secure.address)
    stub: Any = corrections_pb2_grpc.CorrectionsServiceStub(standing)
    assert stub.Stats(pb.StatsRequest()).revision
    first, good = certificates.ca, certificates.key.read_bytes()
    certificates.key.write_text("-----BEGIN PRIVATE KEY-----\n")
    eventually(lambda: "kept what was read before" in secure.log)
    assert works(certificates.channel(secure.address))
    certificates.key.write_bytes(good)
    certificates.renew()
    eventually(lambda: works(certificates.channel(secure.address)))
    assert not works(certificates.channel(secure.address, ca=first))
    assert stub.Stats(pb.StatsRequest()).revision
    standing.close()


def test_with_a_client_ca_only_its_clients_are_let_in(stopped_server: Server, certificates: Certificates) -> None:
    stopped_server.environment = certificates.environment(mutual=True)
    server = stopped_server.start()
    good = certificates.clients.issue_cert("peregrine")
    assert works(certificates.channel(server.address, client=good))
    assert not works(certificates.channel(server.address))
    assert not works(certificates.channel(server.address, client=trustme.CA().issue_cert("peregrine")))
    certificates.clients = trustme.CA()
    certificates.clients.cert_pem.write_to_path(certificates.client_ca)
    eventually(
        lambda: works(certificates.channel(server.address, client=certificates.clients.issue_cert("kiwi"))),
    )
    assert not works(certificates.channel(server.address, client=good))


def test_beyond_this_machine_it_serves_with_tls_and_tokens(stopped_server: Server, certificates: Certificates) -> None:
    file = stopped_server.directory / "tokens.yaml"
    token = new_token(file, "alice", "reader")
    stopped_server.environment = certificates.environment() | {
        "AVOCET_TOKENS_FILE": str(file),
    }
    stopped_server.listen = "0.0.0.0:0"
    server = stopped_server.start()
    with certificates.channel(server.address) as channel:
        assert Bearer(channel, token).Stats(pb.StatsRequest()).revision


@pytest.mark.parametrize("given", ["nothing", "tls", "tokens"])
def test_beyond_this_machine_it_says_what_is_missing(
    stopped_server: Server, certificates: Certificates, given: str
) -> None:
    file = stopped_server.directory / "tokens.yaml"
    new_token(file, "alice", "reader")
    stopped_server.environment = {
        "nothing": {},
        "tls": certificates.environment(),
        "tokens": {"AVOCET_TOKENS_FILE": str(file)},
    }[given]
    stopped_server.listen = "0.0.0.0:0"
    code, said = refused_start(stopped_server)
    assert code == 1
    assert all(flag in said for flag in ("--tls-cert", "--tls-key", "--tokens-file", "--insecure"))
    assert len(said.strip().splitlines()) == 1
    assert not (stopped_server.data / ".avocet").exists()


def test_beyond_this_machine_it_serves_where_insecure_is_spelled_out(stopped_server: Server) -> None:
    stopped_server.environment = {"AVOCET_INSECURE": "1"}
    stopped_server.listen = "0.0.0.0:0"
    server = stopped_server.start()
    assert works(grpc.insecure_channel(server.address.replace("0.0.0.0", "127.0.0.1")))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.8.9.10"])
def test_loopback_needs_neither(stopped_server: Server, host: str) -> None:
    stopped_server.listen = f"{host}:0"
    assert works(grpc.insecure_channel(stopped_server.start().address))


def test_a_unix_socket_needs_neither_and_is_taken_from_nobody_who_serves(
    stopped_server: Server, tmp_path: Path
) -> None:
    socket = tmp_path / "s.sock"
    stopped_server.listen = f"unix:{socket}"
    server = stopped_server.start()
    assert server.address == f"unix:{socket}"
    assert works(grpc.insecure_channel(server.address))
    assert socket.stat().st_mode & 0o777 == 0o660
    other = Server(tmp_path / "other")
    other.listen = server.listen
    code, said = refused_start(other)
    assert (code, "another process serves there" in said) == (1, True)
    assert works(grpc.insecure_channel(server.address))
    server.kill()
    assert works(grpc.insecure_channel(server.start().address))


@pytest.mark.parametrize("broken", ["cert", "key", "client_ca"])
@pytest.mark.parametrize("how", ["missing", "garbage", "another"])
def test_a_wrong_certificate_ends_the_start_in_one_clear_line(
    stopped_server: Server, certificates: Certificates, broken: str, how: str
) -> None:
    path = getattr(certificates, broken)
    if how == "missing":
        path.unlink()
    elif how == "garbage":
        path.write_text("garbage")
    elif broken == "client_ca":
        path.write_bytes(certificates.key.read_bytes())
    else:
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(path)
    stopped_server.environment = certificates.environment(mutual=True)
    code, said = refused_start(stopped_server)
    assert code == 1
    assert len(said.strip().splitlines()) == 1 and str(path) in said
