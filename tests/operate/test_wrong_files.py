"""Files that turn bad while the server runs: what was read before stays in force, and a good file is taken up."""

from __future__ import annotations

import signal
from pathlib import Path

import grpc
import pytest
import trustme

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.foreign_files import Unreadable, open_regular, parse_yaml, read_regular
from tests import wrong_files
from tests.operate.support import new_token
from tests.operate.test_tls import Certificates, works
from tests.operate.test_tokens import reads
from tests.support import PATIENCE_S, Server, bearer, eventually, failure_of

KEPT = "kept what was read before"


def test_a_tokens_file_of_any_wrong_kind_leaves_the_old_tokens_in_force_and_a_good_one_is_taken(
    stopped_server: Server,
) -> None:
    server, file = stopped_server, stopped_server.directory / "tokens.yaml"
    good = new_token(file, "alice", "reader")
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    for kind in wrong_files.KINDS:
        before = server.log.count(KEPT)
        wrong_files.put(file, kind)
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda before=before: server.log.count(KEPT) > before)
        assert reads(server, good)(), kind
        wrong_files.take_away(file)
        old, good = good, new_token(file, "alice", "reader")
        eventually(reads(server, good))
        assert not reads(server, old)(), kind
    assert "failed in the background" not in server.log
    assert server.stop() == 0


def test_a_token_is_revoked_after_a_file_that_no_parser_survives(stopped_server: Server) -> None:
    server, file = stopped_server, stopped_server.directory / "tokens.yaml"
    revoked = new_token(file, "alice", "reader")
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    text = file.read_text()
    file.write_text(text + wrong_files.TEXTS["a wrong time"])
    eventually(lambda: KEPT in server.log)
    file.write_text("[]")
    eventually(lambda: not reads(server, revoked)())


@pytest.mark.parametrize(
    "kind", ["a FIFO", "a directory", "a device", "a file of 100 MB", "bytes that are no UTF-8", "nothing in it"]
)
def test_a_certificate_of_any_wrong_kind_leaves_the_old_one_in_force(stopped_server: Server, kind: str) -> None:
    server, certificates = stopped_server, Certificates(stopped_server.directory)
    server.environment = certificates.environment()
    server.start()
    for path in (certificates.key, certificates.cert):
        before = server.log.count(KEPT)
        wrong_files.put(path, kind)
        eventually(lambda before=before: server.log.count(KEPT) > before)
        assert works(certificates.channel(server.address))
        wrong_files.take_away(path)
    certificates.renew()
    eventually(lambda: works(certificates.channel(server.address)))


def test_a_certificate_that_is_rotated_by_unlink_and_write_is_taken_up(stopped_server: Server) -> None:
    server, certificates = stopped_server, Certificates(stopped_server.directory)
    server.environment = certificates.environment()
    server.start()
    for _ in range(2):
        # The certificate before is in force by now, so nothing of its rotation is logged any more.
        before, old = server.log.count(KEPT), certificates.ca
        certificates.cert.unlink()
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda before=before: server.log.count(KEPT) > before)
        assert works(certificates.channel(server.address))
        certificates.renew()
        eventually(lambda: works(certificates.channel(server.address)))
        assert not works(certificates.channel(server.address, ca=old))


@pytest.mark.parametrize(
    "kind", ["a FIFO", "a directory", "a device", "a file of 100 MB", "bytes that are no UTF-8", "no YAML"]
)
def test_a_client_ca_of_any_wrong_kind_leaves_the_old_one_in_force(stopped_server: Server, kind: str) -> None:
    server, certificates = stopped_server, Certificates(stopped_server.directory)
    server.environment = certificates.environment(mutual=True)
    server.start()
    known = certificates.clients.issue_cert("peregrine")
    wrong_files.put(certificates.client_ca, kind)
    eventually(lambda: server.log.count(KEPT) == 1)
    assert works(certificates.channel(server.address, client=known))
    assert not works(certificates.channel(server.address, client=trustme.CA().issue_cert("peregrine")))
    wrong_files.take_away(certificates.client_ca)
    certificates.clients = trustme.CA()
    certificates.clients.cert_pem.write_to_path(certificates.client_ca)
    another = certificates.clients.issue_cert("kiwi")
    eventually(lambda: works(certificates.channel(server.address, client=another)))
    assert not works(certificates.channel(server.address, client=known))


@pytest.mark.parametrize("kind", ["a FIFO", "a directory", "a device", "bytes that are no UTF-8", "nothing in it"])
def test_a_secret_file_of_any_wrong_kind_leaves_the_old_secret_in_force(stopped_server: Server, kind: str) -> None:
    server, secret = stopped_server, stopped_server.directory / "secret"
    secret.write_text("first\n")
    secret.chmod(0o600)
    server.secret, server.environment = None, {"AVOCET_INGESTION_SECRET_FILE": str(secret)}
    server.start()
    item = pb.IngestRequest(source="s", task_type="t", prompt="p", correction="c")

    def takes(token: str) -> bool:
        try:
            return bool(server.stub.Ingest(item, metadata=bearer(token)).id)
        except grpc.RpcError:
            return False

    wrong_files.put(secret, kind)
    eventually(lambda: server.log.count(KEPT) == 1)
    assert takes("first") and not takes("")
    wrong_files.take_away(secret)
    secret.write_text("second\n")
    secret.chmod(0o600)
    eventually(lambda: takes("second"))
    assert not takes("first")


def test_a_config_file_of_any_wrong_kind_is_an_empty_value_that_holds_nobody_up(server: Server) -> None:
    path = server.config / "label_tool.yaml"
    for kind in wrong_files.KINDS:
        wrong_files.put(path, kind)
        asked = [server.stub.GetConfig.future(pb.GetConfigRequest()) for _ in range(4)]
        changed = server.stub.SetConfig.future(pb.SetConfigRequest(config=pb.Config(bench_results_dir="/new")))
        server.stub.Stats(pb.StatsRequest(), timeout=PATIENCE_S)
        assert [one.result(timeout=PATIENCE_S).config.bench_results_dir for one in asked] == [""] * 4, kind
        failure = failure_of(lambda changed=changed: changed.result(timeout=PATIENCE_S))
        assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIG_UNREADABLE"), kind
    wrong_files.take_away(path)
    server.stub.SetConfig(pb.SetConfigRequest(config=pb.Config(bench_results_dir="/new")))
    assert server.stub.GetConfig(pb.GetConfigRequest()).config.bench_results_dir == "/new"


def test_aliases_that_stay_small_are_followed() -> None:
    assert parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": [{"x": 1}] * 2,
    }


@pytest.mark.parametrize("kind", wrong_files.TEXTS)
def test_each_wrong_text_is_one_error(kind: str) -> None:
    if kind in ("a time that no clock shows", "a number of 100,000 digits"):
        pytest.skip("valid YAML, not valid tokens")
    with pytest.raises(Unreadable):
        parse_yaml(wrong_files.TEXTS[kind])


def test_a_file_that_grows_while_it_is_read_is_read_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert len(read_regular(path, 100)) == 100
    with pytest.raises(OSError, match="more than 99"):
        read_regular(path, 99)
    with pytest.raises(OSError, match="regular"):
        open_regular(Path("/dev/zero"))
