"""The browser's bridge, by raw requests: what it forwards, what it refuses, and what of an error arrives."""

from __future__ import annotations

import base64
import re
import signal
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from google.rpc import status_pb2

from avocet_client.v1 import corrections_pb2 as pb
from tests.operate.support import new_token
from tests.support import SECRET, Server, eventually, failure_of_status, record, write_records
from tests.web.support import Answer, ask, avocet, web_bridge

SERVICE = "avocet.corrections.v1.CorrectionsService"
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}


def call(address: str, method: str, request: Any, **headers: str) -> tuple[list[bytes], dict[str, str]]:
    """The messages and the trailers of a call through the bridge."""
    answer = post(address, f"{SERVICE}/{method}", frame(request.SerializeToString()), GRPC_WEB | headers)
    assert answer.status == 200, answer.body
    return parted(answer.body)


def post(address: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    where = urlsplit(address)
    return ask(where.netloc, "POST", f"{where.path}/{path}", body, headers)


def frame(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


def parted(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    messages: list[bytes] = []
    trailers: dict[str, str] = {}
    while body:
        flag, length = struct.unpack(">BI", body[:5])
        content, body = body[5 : 5 + length], body[5 + length :]
        if flag & 0x80:
            split = (line.partition(":") for line in content.decode().splitlines())
            trailers = {name: value.strip() for name, _, value in split}
            assert not body, "nothing follows the trailers"
        else:
            messages.append(content)
    return messages, trailers


@pytest.fixture
def bridge(server: Server, tmp_path: Path) -> Iterator[str]:
    write_records(server.candidates, [record(f"c{n}") for n in range(3)])
    approved = [record(f"e{n}", status="approved", corrected_response="x" * 1_000) for n in range(40)]
    write_records(server.approved, approved)
    eventually(lambda: server.stats().export_ready == 40 and server.stats().total == 3)
    with web_bridge(tmp_path / "bridge", server.address) as address:
        yield address


@pytest.fixture(scope="module")
def quiet_bridge(quiet_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A bridge for calls that change nothing."""
    with web_bridge(tmp_path_factory.mktemp("bridge"), quiet_server.address) as address:
        yield address


def test_calls_pass_and_their_answers_come_back(bridge: str, server: Server) -> None:
    (page,), trailers = call(bridge, "Queue", pb.QueueRequest(per_page=2))
    assert [item.id for item in pb.QueueResponse.FromString(page).items] == ["c0", "c1"]
    assert trailers["grpc-status"] == "0"
    request = pb.SubmitRequest(id="c0", action=pb.ACTION_DISCARD)
    (decided,), _ = call(bridge, "Submit", request)
    assert (
        pb.SubmitResponse.FromString(decided).candidate
        == server.stub.GetCandidate(pb.GetCandidateRequest(id="c0")).candidate
    )


def test_a_stream_passes_message_by_message(bridge: str) -> None:
    messages, trailers = call(bridge, "StreamExport", pb.StreamExportRequest(batch_size=10))
    responses = [pb.StreamExportResponse.FromString(message) for message in messages]
    assert trailers["grpc-status"] == "0" and len(responses) >= 4
    assert [example.id for each in responses for example in each.examples] == [f"e{n}" for n in range(40)]
    assert responses[-1].summary.example_count == 40


def test_the_page_is_told_under_which_name_it_claims(quiet_server: Server, tmp_path: Path) -> None:
    with web_bridge(tmp_path, quiet_server.address, "--reviewer", 'k"im <b>') as address:
        where = urlsplit(address)
        page = ask(where.netloc, "GET", f"{where.path}/").body.decode()
    assert '<meta name="reviewer" content="k&quot;im &lt;b&gt;" />' in page


def test_a_run_is_uploaded_message_by_message(bridge: str, server: Server) -> None:
    lines = b'{"id": "u1", "status": "needs_review"}\nnot JSON\n'
    (answer,), trailers = call(bridge, "UploadRun", pb.UploadRunRequest(run_id="r", lines=lines))
    uploaded = pb.UploadRunResponse.FromString(answer)
    assert (trailers["grpc-status"], uploaded.imported, uploaded.malformed) == ("0", 1, 1)
    assert (
        server.stub.GetCandidate(pb.GetCandidateRequest(id="u1")).candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW
    )


def test_an_error_passes_with_its_details(quiet_bridge: str) -> None:
    messages, trailers = call(quiet_bridge, "GetCandidate", pb.GetCandidateRequest(id="naïve 100%"))
    assert messages == [] and trailers["grpc-status"] == "5"
    encoded = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert failure_of_status(status).reason == "CANDIDATE_NOT_FOUND"
    assert unquote(trailers["grpc-message"]) == status.message


def test_a_deadline_passes(quiet_bridge: str) -> None:
    # Watch goes on until it is ended. A short call may well be answered within any deadline.
    _, trailers = call(quiet_bridge, "Watch", pb.WatchRequest(), **{"grpc-timeout": "300m"})
    assert trailers["grpc-status"] == "4"


@pytest.mark.parametrize("timeout", ["2600000H", "99999999H", "99999999M", "99999999S"])
def test_a_deadline_of_centuries_passes(quiet_bridge: str, timeout: str) -> None:
    _, trailers = call(quiet_bridge, "Stats", pb.StatsRequest(), **{"grpc-timeout": timeout})
    assert trailers["grpc-status"] == "0"


@pytest.mark.parametrize(
    "kind", ["Application/gRPC-Web+Proto", "application/grpc-web+proto; charset=utf-8", "application/grpc-web ;a=b"]
)
def test_a_content_type_may_have_capitals_and_parameters(quiet_bridge: str, kind: str) -> None:
    _, trailers = call(quiet_bridge, "Stats", pb.StatsRequest(), **{"content-type": kind})
    assert trailers["grpc-status"] == "0"


@pytest.mark.parametrize("token", ["é", "a\tb", "x" * 20_000], ids=["letter", "tab", "long"])
def test_a_token_that_no_header_can_hold_is_a_wrong_one(quiet_bridge: str, token: str) -> None:
    messages, trailers = call(quiet_bridge, "Stats", pb.StatsRequest(), authorization=f"Bearer {token}")
    assert messages == [] and trailers["grpc-status"] == "16"
    assert "token" in unquote(trailers["grpc-message"])
    encoded = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert failure_of_status(status).reason == "TOKEN_REFUSED"


@pytest.mark.parametrize("value", ["é", "x" * 20_000], ids=["letter", "long"])
def test_a_correlation_id_that_cannot_be_sent_ends_no_call(quiet_bridge: str, value: str) -> None:
    _, trailers = call(quiet_bridge, "Stats", pb.StatsRequest(), **{"x-correlation-id": value})
    assert trailers["grpc-status"] == "0"


def test_health_passes(quiet_bridge: str) -> None:
    answer = post(quiet_bridge, "grpc.health.v1.Health/Check", frame(b""), GRPC_WEB)
    assert parted(answer.body)[0] == [b"\x08\x01"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", 404),
        ("grpc.channelz.v1.Channelz/GetServers", 404),
        (f"{SERVICE}/StreamIngest", 404),
        (f"{SERVICE}/Nothing", 404),
        ("", 404),
    ],
)
def test_nothing_but_the_services_own_methods_and_health_is_forwarded(
    quiet_bridge: str, path: str, status: int
) -> None:
    assert post(quiet_bridge, path, frame(b""), GRPC_WEB).status == status


DECISION = frame(pb.SubmitRequest(id="a", action=pb.ACTION_DISCARD).SerializeToString())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (GRPC_WEB | {"origin": "https://evil.example"}, 403),
        (GRPC_WEB | {"origin": "null"}, 403),
        (GRPC_WEB | {"origin": "http://127.0.0.1:1"}, 403),
        (GRPC_WEB | {"sec-fetch-site": "cross-site"}, 403),
        (GRPC_WEB | {"sec-fetch-site": "same-site"}, 403),
        (GRPC_WEB | {"host": "evil.example"}, 403),
        (GRPC_WEB | {"host": "127.0.0.1"}, 403),
        ({"content-type": "text/plain"}, 403),
        ({"content-type": "application/json"}, 415),
        ({"content-type": "application/grpc-web-text"}, 415),
        ({}, 403),
    ],
)
def test_a_forged_call_is_refused_and_stores_nothing(
    quiet_bridge: str, quiet_server: Server, headers: dict[str, str], status: int
) -> None:
    assert post(quiet_bridge, f"{SERVICE}/Submit", DECISION, headers).status == status
    assert dict(quiet_server.stats().by_status) == {"needs_review": 1}


def test_a_preflight_of_a_foreign_page_is_refused(quiet_bridge: str) -> None:
    where = urlsplit(quiet_bridge)
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = ask(where.netloc, "OPTIONS", f"{where.path}/{SERVICE}/Submit", headers=headers)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_without_the_key_there_is_nothing(quiet_bridge: str) -> None:
    address = urlsplit(quiet_bridge)
    for path in ("/", f"/{SERVICE}/Submit", f"/wrong/{SERVICE}/Submit", f"{address.path[:-1]}/{SERVICE}/Submit"):
        assert ask(address.netloc, "POST", path, DECISION, GRPC_WEB).status == 404
        assert ask(address.netloc, "GET", path).status == 404


@pytest.mark.parametrize("body", [b"", b"\0", frame(b"")[:4], frame(b"abc")[:-1], frame(b"") * 2, b"\1\0\0\0\0"])
def test_a_body_that_is_not_one_message_is_refused(quiet_bridge: str, body: bytes) -> None:
    assert post(quiet_bridge, f"{SERVICE}/Stats", body, GRPC_WEB).status == 400


def test_a_body_beyond_the_services_limit_is_refused(quiet_bridge: str) -> None:
    answer = post(quiet_bridge, f"{SERVICE}/Stats", frame(b"x" * 17_000_000), GRPC_WEB)
    assert answer.status == 413


def test_a_call_ends_when_its_caller_is_gone(bridge: str, server: Server, tmp_path: Path) -> None:
    where = urlsplit(bridge)
    body = frame(b"")
    with socket.create_connection((where.hostname, where.port)) as caller:
        request = f"POST {where.path}/grpc.health.v1.Health/Watch HTTP/1.1\r\nhost: {where.netloc}\r\n"
        caller.sendall(
            f"{request}content-type: application/grpc-web+proto\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        )
        caller.sendall(body)
        received = b""
        while b"\x08\x01" not in received:
            received += caller.recv(4_096)
    # The server logs a call once it has ended.
    eventually(lambda: "/grpc.health.v1.Health/Watch" in server.log or "Health/Watch" in server.log)
    assert "Traceback" not in (tmp_path / "bridge" / "stderr").read_text()


def test_the_token_stays_in_the_process_and_a_callers_own_wins(tmp_path: Path) -> None:
    server = Server(tmp_path / "server")
    tokens = tmp_path / "tokens.yaml"
    reviewer, reader = (new_token(tokens, name, name) for name in ("reviewer", "reader"))
    server.environment["AVOCET_TOKENS_FILE"] = str(tokens)
    write_records(server.candidates, [record("c1")])
    server.start()
    try:
        with web_bridge(tmp_path / "web", server.address, token=reviewer) as address:
            submit = pb.SubmitRequest(id="c1", action=pb.ACTION_DISCARD)
            assert call(address, "Submit", submit, authorization=f"Bearer {reader}")[1]["grpc-status"] == "7"
            assert call(address, "Submit", submit)[1]["grpc-status"] == "0"
        with web_bridge(tmp_path / "bare", server.address) as address:
            assert call(address, "Stats", pb.StatsRequest())[1]["grpc-status"] == "16"
    finally:
        server.kill()


def test_the_bridge_serves_again_after_the_service_has_restarted(bridge: str, server: Server) -> None:
    server.listen = server.address
    server.kill()
    assert call(bridge, "Stats", pb.StatsRequest())[1]["grpc-status"] == "14"
    server.start()
    eventually(lambda: call(bridge, "Stats", pb.StatsRequest())[1]["grpc-status"] == "0")


def test_the_address_is_the_only_line_on_stdout_and_its_key_is_new_each_time(
    quiet_server: Server, tmp_path: Path
) -> None:
    keys = set()
    for name in ("one", "two"):
        with avocet(tmp_path / name, "web", "--no-open", "--address", quiet_server.address) as (process, out, err):
            eventually(lambda: out.read_text().endswith("\n"), within=30)
            (line,) = out.read_text().splitlines()
            found = re.fullmatch(r"http://127\.0\.0\.1:\d+/([\w-]{24,})/", line)
            assert found
            keys.add(found[1])
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert out.read_text() == f"{line}\n" and "Traceback" not in err.read_text()
    assert len(keys) == 2


def test_ingestion_takes_the_callers_secret(bridge: str) -> None:
    request = pb.IngestRequest(source="kiwi", task_type="sum", prompt="1+1?", correction="2")
    assert call(bridge, "Ingest", request)[1]["grpc-status"] == "16"
    assert call(bridge, "Ingest", request, authorization=f"Bearer {SECRET}")[1]["grpc-status"] == "0"
