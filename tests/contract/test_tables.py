"""The tables are complete: every error has its entry, every method its policy, every limit its word in the proto."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import error_reason_pb2
from avocet_grpc.cli.app import app
from avocet_grpc.core import errors, model
from avocet_grpc.edge.auth.policy import POLICIES, Role
from avocet_grpc.edge.message_limits import most_bytes
from avocet_grpc.edge.status import INTERNAL, TABLE, internal_status
from avocet_grpc.settings import Limits

SERVICES = [
    descriptor.services_by_name[name]
    for descriptor, name in (
        (pb.DESCRIPTOR, "CorrectionsService"),
        (health_pb2.DESCRIPTOR, "Health"),
        (reflection_pb2.DESCRIPTOR, "ServerReflection"),
        (channelz_pb2.DESCRIPTOR, "Channelz"),
    )
]
SERVICE_CONFIG = Path(__file__).parents[2] / "protos/avocet/corrections/v1/service_config.json"


def test_each_command_says_in_its_help_how_it_can_end() -> None:
    def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, f"{path}{name} ")
            else:
                yield f"{path}{name}", command

    stated = dict(commands(typer.main.get_command(app), ""))
    assert {"serve", "migrate", "token new", "keeper release"} <= stated.keys()
    for name, command in stated.items():
        said = " ".join((command.help or "").split())
        assert "Exit codes: 0" in said and "; 2 for a wrong flag" in said, name


def test_the_policy_table_has_exactly_the_methods_that_are_served() -> None:
    served = {f"/{service.full_name}/{method.name}" for service in SERVICES for method in service.methods}
    served |= {name.replace("v1alpha", "v1") for name in served if "v1alpha" in name}
    assert set(POLICIES) == served


def test_only_the_two_ingest_methods_ask_for_the_secret() -> None:
    asking = {name.rpartition("/")[2] for name, role in POLICIES.items() if role is Role.INGEST}
    assert asking == {"Ingest", "StreamIngest"}


def test_only_health_is_open_to_everybody_once_there_are_tokens() -> None:
    assert {name for name, role in POLICIES.items() if role is None} == {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    }


@pytest.mark.parametrize("setting", [16 << 20, 1 << 20, 1_000])
def test_each_method_takes_messages_as_large_as_is_promised(setting: int) -> None:
    texts = {"Submit", "BatchSubmit", "Ingest", "StreamIngest", "UploadRun"}
    assert texts < {method.name for method in SERVICES[0].methods}
    others = {"Health": 4 << 10, "ServerReflection": 64 << 10, "Channelz": 64 << 10}
    for method in POLICIES:
        service, _, name = method[1:].partition("/")
        kind = service.rpartition(".")[2]
        promised = others.get(kind, (16 << 20) if name in texts else (2 << 20))
        # The setting lowers every limit, and raises none.
        assert most_bytes(method, setting) == min(promised, setting), method
    assert Limits().message_bytes == 16 << 20


def test_every_error_of_the_core_has_its_entry_and_every_reason_its_error() -> None:
    kinds = {
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.CorrectionsError) and kind is not errors.CorrectionsError
    }
    assert set(TABLE) == kinds
    reasons = [entry.reason for entry in TABLE.values()] + [INTERNAL.reason]
    assert sorted(reasons) == sorted(error_reason_pb2.ErrorReason.values()[1:])
    assert all(entry.code is not grpc.StatusCode.OK and entry.sentence for entry in TABLE.values())


def test_the_words_of_the_wire_and_of_the_core_are_the_same() -> None:
    for wire, words, prefix in (
        (pb.CandidateStatus, model.Status, "CANDIDATE_STATUS_"),
        (pb.FailureCategory, model.FailureCategory, "FAILURE_CATEGORY_"),
        (pb.Action, model.Action, "ACTION_"),
        (pb.Order, model.Order, "ORDER_"),
    ):
        assert [name.removeprefix(prefix).lower() for name in wire.keys()[1:]] == [word.value for word in words]


def test_an_internal_error_tells_its_correlation_id_and_nothing_else() -> None:
    status = internal_status("abc")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"correlation_id": "abc"})


def test_the_service_config_names_each_method_once_and_retries_reads_alone() -> None:
    entries = json.loads(SERVICE_CONFIG.read_text())["methodConfig"]
    named = [(name["service"], name["method"]) for entry in entries for name in entry["name"]]
    assert sorted(named) == sorted((SERVICES[0].full_name, method.name) for method in SERVICES[0].methods)
    retried = {name["method"] for entry in entries if "retryPolicy" in entry for name in entry["name"]}
    reads = {"ListRuns", "Queue", "GetCandidate", "Stats", "GetConfig", "GetVersion"}
    assert retried == reads | {"ListCandidates", "ListHistory", "GetSnapshot", "ListSnapshots"}


def test_the_proto_says_which_role_opens_each_method() -> None:
    proto = (SERVICE_CONFIG.parent / "corrections.proto").read_text().replace("\n//  ", "")
    for method, role in POLICIES.items():
        service, _, name = method[1:].partition("/")
        if service == "avocet.corrections.v1.CorrectionsService":
            (row,) = [line for line in proto.splitlines() if line.startswith(f"// - `{role}`:")]
            assert f"`{name}`" in row
