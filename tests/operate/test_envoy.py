"""deploy/envoy.yaml with the real Envoy: TLS on both sides, gRPC and gRPC-Web, servers by their health, strangers."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
import yaml
from google.rpc import status_pb2

from avocet_client import Correction, CorrectionsClient, Tls, TokenMissing, TokenRefused, TransportError
from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.envoy import CONFIG, envoy
from tests.operate.support import Bearer, new_token
from tests.support import Server, bearer, eventually, failure_of_status, record, write_records
from tests.web.browser_programs import Program
from tests.web.support import Answer
from tests.web.test_bridge import GRPC_WEB, SERVICE, frame, parted

APPROVED = 80
pytestmark = pytest.mark.timeout(240)


@dataclass
class Team:
    """Envoy over two servers that have the same records, and a token of each kind."""

    address: str
    roots: bytes
    servers: list[Server]
    tokens: dict[str, str]

    def client(self, kind: str = "") -> CorrectionsClient:
        token = self.tokens[kind] if kind else ""
        return CorrectionsClient(self.address, token=token, tls=Tls(root_certificates=self.roots))

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return self.ask("POST", path, body, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """One request as a browser would send it, over HTTP/1.1."""
        trusted = ssl.create_default_context(cadata=self.roots.decode())
        connection = http.client.HTTPSConnection(self.address, context=trusted, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def web(self, method: str, request: Any, kind: str) -> tuple[list[bytes], dict[str, str]]:
        headers = GRPC_WEB | {"authorization": f"Bearer {self.tokens[kind]}", "origin": f"https://{self.address}"}
        answer = self.post(f"/{SERVICE}/{method}", frame(request.SerializeToString()), headers)
        assert answer.status == 200
        messages, trailers = parted(answer.body)
        # An answer without a message has its trailers as headers.
        return messages, trailers or dict(answer.headers)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    directory = tmp_path_factory.mktemp("team")
    authority = trustme.CA()
    for name, host in (("", "localhost"), ("server-", "corrections.internal")):
        made = authority.issue_cert(host)
        made.cert_chain_pems[0].write_to_path(directory / f"{name}cert.pem")
        made.private_key_pem.write_to_path(directory / f"{name}key.pem")
    authority.cert_pem.write_to_path(directory / "servers-ca.pem")
    tokens = directory / "tokens.yaml"
    made_tokens = {kind: new_token(tokens, kind, kind) for kind in ("reader", "admin")}
    servers = [Server(directory / name) for name in ("one", "two")]
    for server in servers:
        write_records(server.candidates, [record(f"c{n}") for n in range(5)])
        texts = [record(f"e{n:03d}", status="approved", corrected_response="x" * 400_000) for n in range(APPROVED)]
        write_records(server.approved, texts)
        server.environment = {
            "AVOCET_TLS_CERT": str(directory / "server-cert.pem"),
            "AVOCET_TLS_KEY": str(directory / "server-key.pem"),
            "AVOCET_TOKENS_FILE": str(tokens),
        }
        server.start()
    try:
        with envoy(directory, directory, [server.address for server in servers]) as address:
            found = Team(address, authority.cert_pem.bytes(), servers, made_tokens)
            with found.client("admin") as client:
                eventually(lambda: client.stats().total == 5)
            yield found
    finally:
        for server in servers:
            server.kill()


def test_grpc_passes_with_streams_in_both_directions_tokens_and_errors(team: Team) -> None:
    with team.client("admin") as client:
        assert [item.id for item in client.queue().items] == [f"c{n}" for n in range(5)]
        assert len(list(client.export())) >= APPROVED
        corrections = [Correction(source="kiwi", task_type="t", prompt=f"{n}?", correction=f"{n}") for n in range(500)]
        assert all(result.created for result in client.ingest_many(corrections))
    with team.client("reader") as reader, pytest.raises(TokenRefused) as refused:
        reader.submit("c0", action="discard")
    assert refused.value.metadata
    with team.client() as nobody, pytest.raises(TokenMissing):
        nobody.stats()


def test_grpc_web_passes_with_streams_tokens_and_errors(team: Team) -> None:
    (page,), trailers = team.web("Queue", pb.QueueRequest(per_page=2), "reader")
    assert [item.id for item in pb.QueueResponse.FromString(page).items] == ["c0", "c1"]
    assert trailers["grpc-status"] == "0"
    messages, _ = team.web("StreamExport", pb.StreamExportRequest(batch_size=10), "admin")
    responses = [pb.StreamExportResponse.FromString(message) for message in messages]
    assert responses[-1].summary.example_count == sum(len(each.examples) for each in responses) >= APPROVED
    _, trailers = team.web("Submit", pb.SubmitRequest(id="c0", action=pb.ACTION_DISCARD), "reader")
    encoded = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert failure_of_status(status).reason == "TOKEN_REFUSED"


DECISION = frame(pb.SubmitRequest(id="c1", action=pb.ACTION_DISCARD).SerializeToString())


@pytest.mark.parametrize(
    "headers",
    [
        GRPC_WEB | {"origin": "https://evil.example"},
        GRPC_WEB | {"origin": "null"},
        GRPC_WEB | {"sec-fetch-site": "cross-site"},
        GRPC_WEB | {"sec-fetch-site": "same-site"},
        GRPC_WEB | {"host": "evil.example"},
        {"content-type": "text/plain"},
        {"content-type": "application/json"},
        {},
    ],
)
def test_a_forged_call_is_refused_with_403_and_stores_nothing(team: Team, headers: dict[str, str]) -> None:
    token = {"authorization": f"Bearer {team.tokens['admin']}"}
    assert team.post(f"/{SERVICE}/Submit", DECISION, headers | token).status == 403
    with team.client("admin") as client:
        assert client.stats().by_status["needs_review"] == 5


@pytest.mark.parametrize("path", ["/grpc.channelz.v1.Channelz/GetServers", "/nothing", f"/x/{SERVICE}/Submit"])
def test_nothing_but_the_services_own_methods_and_health_is_forwarded(team: Team, path: str) -> None:
    assert team.post(path, frame(b""), GRPC_WEB | {"authorization": f"Bearer {team.tokens['admin']}"}).status == 404


def test_a_link_on_another_site_leads_to_the_page_and_no_site_may_frame_it(team: Team) -> None:
    clicked = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    answer = team.ask("GET", "/", None, clicked)
    assert answer.status == 200 and b"<title>" in answer.body
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_the_review_page_works_with_a_token_that_is_typed_in(team: Team, tmp_path: Path) -> None:
    server = team.servers[0]
    certificates = server.directory.parent
    with envoy(tmp_path, certificates, [server.address]) as address:
        variables = {"AVOCET_TYPED_TOKEN": team.tokens["admin"], "AVOCET_TLS": "untrusted"}
        with Program("team.mjs", f"https://{address}/", **variables) as reviewer:
            first, approved, forgotten, seen = reviewer.lines()
    assert first == ["asked for a token", "", "c0"]
    assert approved == ["approved", "c1"]
    assert forgotten == ["forgotten", "", 0]
    assert seen == ["seen", [], [], []]
    channel = grpc.secure_channel(
        server.address,
        grpc.ssl_channel_credentials(team.roots),
        [("grpc.ssl_target_name_override", "corrections.internal")],
    )
    with channel:
        request = pb.UndoRequest(id="c0")
        undone = Bearer(channel, team.tokens["admin"]).Undo(request).candidate
    assert undone.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW


def test_an_export_whose_reader_pauses_for_longer_than_envoys_own_limit_is_not_cut(team: Team) -> None:
    credentials = grpc.ssl_channel_credentials(team.roots)
    with grpc.secure_channel(team.address, credentials) as channel:
        method: Any = channel.unary_stream(
            f"/{SERVICE}/StreamExport", pb.StreamExportRequest.SerializeToString, pb.StreamExportResponse.FromString
        )
        # A stub of its own: the client would continue a stream that is cut, and hide it.
        stream = method(pb.StreamExportRequest(batch_size=1), metadata=bearer(team.tokens["admin"]))
        count = len(next(stream).examples)
        time.sleep(17)
        responses = list(stream)
    assert count + sum(len(each.examples) for each in responses) == responses[-1].summary.example_count


def test_a_server_that_dies_or_stops_costs_no_caller_an_error(team: Team) -> None:
    one, two = team.servers
    with team.client("admin") as client:
        for end in (one.kill, one.stop):
            end()
            assert [client.stats().total >= 5 for _ in range(60)] == [True] * 60
            one.listen = one.address
            one.start()
        # It serves again: with the other one gone, it alone answers. Envoy refuses calls until it has seen that.
        two.kill()
        eventually(lambda: answers(client), within=60)


def answers(client: CorrectionsClient) -> bool:
    try:
        return client.stats().total >= 5
    except TransportError:
        return False


def test_the_certificates_are_verified_on_both_sides(team: Team, tmp_path: Path) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    (cluster,) = config["static_resources"]["clusters"]
    context = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    assert context["match_typed_subject_alt_names"] and context["trusted_ca"]
    impostor = trustme.CA()
    for name in ("cert", "key"):
        (tmp_path / f"{name}.pem").write_bytes((Path(team.servers[0].directory).parent / f"{name}.pem").read_bytes())
    impostor.cert_pem.write_to_path(tmp_path / "servers-ca.pem")
    with envoy(tmp_path, tmp_path, [team.servers[0].address]) as address:
        found = Team(address, team.roots, team.servers, team.tokens)
        assert found.post("/grpc.health.v1.Health/Check", frame(b""), GRPC_WEB).status == 503
