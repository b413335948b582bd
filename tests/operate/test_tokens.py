"""Who may call what: roles, expiry, rotation, and who a reviewer is."""

from __future__ import annotations

import datetime
import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.edge.auth.policy import POLICIES, Role
from tests.operate.support import Bearer, expired_token, new_token, refused_start
from tests.support import BIN, SECRET, Server, bearer, eventually, failure_of, record, write_records

ROLES = [role.value for role in Role]
ITEM = pb.IngestRequest(source="kiwi", task_type="qa", prompt="p", correction="c")


class Guarded:
    """A server with one token a role."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.file = server.directory / "tokens.yaml"
        self.tokens = {role: new_token(self.file, f"the-{role}", role) for role in ROLES}
        server.environment = {"AVOCET_TOKENS_FILE": str(self.file)}
        write_records(server.candidates, [record(f"c{n}") for n in range(9)])
        server.start()

    def stub(self, role: str) -> Bearer:
        return Bearer(self.server.open_channel, self.tokens[role])


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    server = Server(tmp_path_factory.mktemp("guarded"))
    yield Guarded(server)
    server.kill()


def call(channel: grpc.Channel, method: str, metadata: Any) -> str:
    """Call a method with an empty message; gives the reason of its refusal by identity, or nothing."""
    multi: Any = channel.stream_stream(method)
    call = multi(iter([b""]), metadata=metadata, timeout=60)
    try:
        next(call, None)
    except grpc.RpcError:
        trailing: Any = dict(call.trailing_metadata() or ())
        known = re.search(rb"TOKEN_\w+|INGESTION_NOT_CONFIGURED", trailing.get("grpc-status-details-bin", b""))
        return known.group().decode() if known else ""
    finally:
        call.cancel()
    return ""


@pytest.mark.parametrize("method", POLICIES)
def test_each_method_asks_for_its_role_and_no_other_role_opens_it(guarded: Guarded, method: str) -> None:
    asked = POLICIES[method]
    opening = {asked, Role.ADMIN} | ({Role.REVIEWER} if asked is Role.READER else set())
    channel = guarded.server.open_channel
    for role in ROLES:
        expected = "" if asked is None or role in opening else "TOKEN_REFUSED"
        assert call(channel, method, bearer(guarded.tokens[role])) == expected, role
    assert call(channel, method, ()) == ("" if asked is None else "TOKEN_MISSING")
    assert call(channel, method, bearer("wrong")) == ("" if asked is None else "TOKEN_REFUSED")


def test_a_missing_role_is_named_and_an_unknown_token_is_not_described(guarded: Guarded) -> None:
    failure = failure_of(lambda: guarded.stub("reader").Undo(pb.UndoRequest(id="c0")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TOKEN_REFUSED")
    assert failure.metadata == {"role": "reviewer"}
    assert "'reviewer'" in failure.message
    unknown = failure_of(lambda: Bearer(guarded.server.open_channel, "unknown").Undo(pb.UndoRequest(id="c0")))
    assert (unknown.reason, unknown.metadata) == ("TOKEN_REFUSED", {})


def test_the_ingestion_secret_goes_on_opening_the_two_ingest_calls_alone(guarded: Guarded) -> None:
    stub = Bearer(guarded.server.open_channel, SECRET)
    assert stub.Ingest(ITEM).created
    assert [r.created for a in stub.StreamIngest(iter([pb.StreamIngestRequest(items=[ITEM])])) for r in a.results]
    assert failure_of(lambda: stub.Stats(pb.StatsRequest())).metadata == {"role": "reader"}


def test_a_decision_is_recorded_under_the_tokens_name_and_nobody_decides_as_somebody_else(guarded: Guarded) -> None:
    stub = guarded.stub("reviewer")

    def reviewer(**fields: Any) -> Any:
        return stub.Submit(pb.SubmitRequest(id="c7", action=pb.ACTION_FLAG, **fields)).candidate.reviewed_by

    assert reviewer() == "the-reviewer"
    stub.Undo(pb.UndoRequest(id="c7", reviewer="the-reviewer"))
    assert reviewer(reviewer="the-reviewer") == "the-reviewer"
    for refused in (
        failure_of(lambda: stub.Undo(pb.UndoRequest(id="c7", reviewer="mallory"))),
        failure_of(lambda: stub.Submit(pb.SubmitRequest(id="c8", action=pb.ACTION_FLAG, reviewer="mallory"))),
    ):
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["reviewer"])
    assert stub.GetCandidate(pb.GetCandidateRequest(id="c8")).candidate.status == pb.CANDIDATE_STATUS_NEEDS_REVIEW


def test_a_claim_and_a_snapshot_are_of_the_token_that_made_them(guarded: Guarded) -> None:
    stub, other = guarded.stub("reviewer"), guarded.stub("admin")
    refused = failure_of(lambda: stub.Claim(pb.ClaimRequest(reviewer="mallory")))
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", ["reviewer"])
    (claim,) = stub.Claim(pb.ClaimRequest()).claims
    assert claim.reviewer == "the-reviewer"
    leases = [claim.lease_id]
    assert list(other.RenewClaims(pb.RenewClaimsRequest(lease_ids=leases)).lost) == leases
    assert list(other.ReleaseClaims(pb.ReleaseClaimsRequest(lease_ids=leases)).lost) == leases
    decision = pb.SubmitRequest(id=claim.candidate.id, action=pb.ACTION_FLAG, lease_id=claim.lease_id)
    assert failure_of(lambda: other.Submit(decision)).reason == "CLAIM_LOST"
    assert stub.Submit(decision).candidate.reviewed_by == "the-reviewer"
    stub.Undo(pb.UndoRequest(id=claim.candidate.id))
    made = guarded.stub("export").CreateSnapshot(pb.CreateSnapshotRequest(name="made")).snapshot
    assert made.created_by == "the-export"
    (change,) = [one for one in stub.ListHistory(pb.ListHistoryRequest(id=claim.candidate.id, page_size=1)).changes]
    assert (change.action, change.actor) == (pb.CHANGE_ACTION_UNDO, "the-reviewer")


def test_health_reflection_and_channelz_keep_to_the_table(guarded: Guarded) -> None:
    channel = guarded.server.open_channel
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert next(health.Watch(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    asking = [reflection_pb2.ServerReflectionRequest(list_services="")]
    answers = reflection.ServerReflectionInfo(iter(asking), metadata=bearer(guarded.tokens["reader"]))
    listed = {service.name for answer in answers for service in answer.list_services_response.service}
    assert "grpc.channelz.v1.Channelz" in listed
    channelz: Any = channelz_pb2_grpc.ChannelzStub(channel)
    request = channelz_pb2.GetServersRequest()
    assert channelz.GetServers(request, metadata=bearer(guarded.tokens["admin"])).server
    assert failure_of(lambda: channelz.GetServers(request, metadata=bearer(guarded.tokens["reader"]))).metadata


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_every_service_by_both_of_its_names(guarded: Guarded, version: str) -> None:
    multi: Any = guarded.server.open_channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )

    def ask(**request: Any) -> Any:
        asking = iter([reflection_pb2.ServerReflectionRequest(**request)])
        (answer,) = multi(asking, metadata=bearer(guarded.tokens["reader"]), timeout=60)
        return answer

    listed = [service.name for service in ask(list_services="").list_services_response.service]
    assert {f"grpc.reflection.{each}.ServerReflection" for each in ("v1", "v1alpha")} < set(listed)
    for name in listed:
        files = ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto
        found = [FileDescriptorProto.FromString(file) for file in files]
        assert name in {f"{file.package}.{service.name}" for file in found for service in file.service}


def test_no_token_is_in_the_log(guarded: Guarded) -> None:
    guarded.stub("reader").Stats(pb.StatsRequest())
    failure_of(lambda: Bearer(guarded.server.open_channel, "a-wrong-token").Stats(pb.StatsRequest()))
    for said in ('"PERMISSION_DENIED"', '"principal": "the-reader"'):
        eventually(lambda: said in guarded.server.log)  # noqa: B023
    for secret in (*guarded.tokens.values(), SECRET, "a-wrong-token"):
        assert secret not in guarded.server.log


def test_channelz_is_not_served_where_nobody_is_asked_for_a_token(quiet_server: Server) -> None:
    channelz: Any = channelz_pb2_grpc.ChannelzStub(quiet_server.open_channel)
    failure = failure_of(lambda: channelz.GetServers(channelz_pb2.GetServersRequest()))
    assert failure.code == grpc.StatusCode.UNIMPLEMENTED


def reads(server: Server, token: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return bool(Bearer(server.open_channel, token).Stats(pb.StatsRequest()).revision)
        except grpc.RpcError:
            return False

    return look


def test_tokens_rotate_without_a_restart_and_a_bad_file_changes_nothing(stopped_server: Server) -> None:
    server = stopped_server
    file = server.directory / "tokens.yaml"
    old = new_token(file, "alice", "reader")
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    only_old = file.read_text()
    new = new_token(file, "alice", "reader", expires="2999-01-01")
    eventually(reads(server, new))
    assert reads(server, old)()
    file.write_text(file.read_text().removeprefix(only_old))
    eventually(lambda: not reads(server, old)())
    assert reads(server, new)()
    good = file.read_text()
    for bad in ("- name: [", "name: alice", "- {name: a, sha256: 12, roles: [reader]}", good + good):
        before = server.log.count("kept what was read before")
        file.write_text(bad)
        eventually(lambda before=before: server.log.count("kept what was read before") > before)
        assert reads(server, new)()
    file.write_text("[]")
    eventually(lambda: not reads(server, new)())


@pytest.mark.parametrize("text", ["", "\n", "# who may call\n", "---\n"])
def test_a_tokens_file_that_is_emptied_to_be_written_again_locks_nobody_out(stopped_server: Server, text: str) -> None:
    server, file = stopped_server, stopped_server.directory / "tokens.yaml"
    good = new_token(file, "alice", "reader")
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    whole = file.read_text()
    file.write_text(text)
    eventually(lambda: server.log.count("kept what was read before") == 1)
    assert reads(server, good)()
    new = new_token(file, "bob", "reader")
    eventually(reads(server, new))
    assert not reads(server, good)()
    file.write_text(whole)
    eventually(reads(server, good))


def test_a_server_that_begins_without_tokens_takes_the_first_one(stopped_server: Server) -> None:
    server, file = stopped_server, stopped_server.directory / "tokens.yaml"
    file.touch(0o600)
    server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server.start()
    eventually(reads(server, new_token(file, "alice", "reader")))
    token(file, "revoke", "alice")
    assert file.read_text() == "[]\n"
    eventually(reads(server, new_token(file, "bob", "reader")))
    assert file.read_text().startswith("- name: bob\n")


def test_an_expired_token_is_refused(stopped_server: Server) -> None:
    file = stopped_server.directory / "tokens.yaml"
    expired = expired_token(file, "alice", "reader")
    good = new_token(file, "alice", "reader", expires="2999-01-01")
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server = stopped_server.start()
    assert reads(server, good)()
    failure = failure_of(lambda: Bearer(server.open_channel, expired).Stats(pb.StatsRequest()))
    assert failure.reason == "TOKEN_REFUSED"


def test_the_ingestion_secret_may_be_a_file_and_rotates(stopped_server: Server) -> None:
    secret = stopped_server.directory / "secret"
    secret.write_text("first\n")
    secret.chmod(0o600)
    stopped_server.environment = {"AVOCET_INGESTION_SECRET_FILE": str(secret)}
    server = stopped_server.start()

    def takes(token: str) -> bool:
        return call(server.open_channel, f"/{pb.DESCRIPTOR.package}.CorrectionsService/Ingest", bearer(token)) == ""

    assert takes("first") and not takes(SECRET)
    secret.write_text("second\n")
    eventually(lambda: takes("second") and not takes("first"))


def token(file: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "avocet-grpc"), "token", *arguments, "--tokens-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def listed(file: Path) -> list[str]:
    return [line.split()[0] for line in token(file, "list").stdout.splitlines()]


def test_tokens_are_listed_by_name_id_roles_and_end_and_never_whole(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    first = expired_token(file, "alice", "reviewer", "export")
    second = new_token(file, "bob", "admin")
    out = token(file, "list").stdout
    digest = hashlib.sha256(first.encode()).hexdigest()
    assert out.splitlines()[0] == f"alice  {digest[:12]}  export,reviewer  until 2001-01-01 00:00 UTC  EXPIRED"
    assert "bob" in out and "  admin\n" in out
    assert first not in out and second not in out and digest not in out


def test_a_token_is_revoked_by_its_id_and_a_name_with_all_its_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    tokens = [new_token(file, name, "reader") for name in ("kiwi", "alice", "kiwi", "kiwi")]
    file.write_text("# ours\n" + file.read_text().replace("- name: alice", "# Alice's laptop\n- name: alice"))
    file.chmod(0o640)
    id = hashlib.sha256(tokens[2].encode()).hexdigest()[:12]
    assert token(file, "revoke", "kiwi", "--id", id).stdout.count("revoked kiwi") == 1
    assert listed(file) == ["kiwi", "alice", "kiwi"]
    assert id not in token(file, "list").stdout
    assert token(file, "revoke", "kiwi").stdout.count("revoked kiwi") == 2
    assert listed(file) == ["alice"]
    text = file.read_text()
    assert text.startswith("# ours\n") and "# Alice's laptop\n- name: alice" in text
    assert file.stat().st_mode & 0o777 == 0o640
    before = file.read_bytes()
    assert "there is no token of kiwi" in token(file, "revoke", "kiwi", code=1).stderr
    assert "whose id begins with" in token(file, "revoke", "alice", "--id", "abc", code=1).stderr
    assert file.read_bytes() == before
    token(file, "revoke", "alice")
    assert listed(file) == [] and file.read_text().startswith("# ours\n")


def test_rotation_gives_a_new_token_the_same_roles_and_ends_the_old_ones_after_the_grace_time(
    stopped_server: Server,
) -> None:
    file = stopped_server.directory / "tokens.yaml"
    soon = expired_token(file, "kiwi", "reader")
    old = new_token(file, "kiwi", "reviewer", "export")
    other = new_token(file, "alice", "reader")
    done = token(file, "rotate", "kiwi", "--grace-hours", "1")
    new = done.stdout.strip()
    assert done.stderr.count("is refused from") == 1 and new not in file.read_text()
    entries = yaml.safe_load(file.read_text())
    assert [entry["name"] for entry in entries] == ["kiwi", "kiwi", "alice", "kiwi"]
    assert entries[0]["expires"] == datetime.date(2001, 1, 1) and "expires" not in entries[2]
    left = entries[1]["expires"] - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=50) < left <= datetime.timedelta(hours=1)
    assert sorted(entries[3]["roles"]) == ["export", "reviewer"]
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    server = stopped_server.start()
    assert reads(server, old)() and reads(server, new)() and reads(server, other)()
    assert not reads(server, soon)()
    token(file, "rotate", "kiwi", "--grace-hours", "0")
    eventually(lambda: not reads(server, old)() and not reads(server, new)())
    assert reads(server, other)()


@pytest.mark.parametrize("command", [("new", "a", "--role", "reader"), ("list",), ("revoke", "a"), ("rotate", "a")])
def test_a_tokens_file_that_cannot_be_used_is_left_as_it_is(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = tmp_path / "tokens.yaml"
    for text in ("- name: [", "name: a", "- {name: a, sha256: 12, roles: [reader]}"):
        file.write_text(text)
        file.chmod(0o600)
        said = token(file, *command, code=1).stderr
        assert said.startswith("avocet-grpc: ") and len(said.strip().splitlines()) == 1
        assert file.read_text() == text and [path.name for path in tmp_path.iterdir()] == ["tokens.yaml"]


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620])
def test_a_tokens_file_that_is_open_to_others_is_refused_at_start(stopped_server: Server, mode: int) -> None:
    file = stopped_server.directory / "tokens.yaml"
    new_token(file, "alice", "reader")
    file.chmod(mode)
    stopped_server.environment = {"AVOCET_TOKENS_FILE": str(file)}
    code, said = refused_start(stopped_server)
    assert code == 1
    assert said.strip().splitlines()[-1].startswith("avocet-grpc: ") and "chmod 600" in said
    assert "Traceback" not in said and len(said.strip().splitlines()) == 1


def test_a_new_token_file_is_private_and_keeps_what_was_in_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    first = new_token(file, "a", "reader", "export")
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("# ours\n" + file.read_text())
    second = new_token(file, "b", "admin")
    text = file.read_text()
    assert text.startswith("# ours\n- name: a\n") and "- name: b\n" in text
    assert first not in text and second not in text and first != second
