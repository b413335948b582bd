"""What the real server and the in-memory service refuse, by the requests themselves, and all that a refusal says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from avocet_client.testing import Service
from avocet_client.testing.channel import METHODS, Channel
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1.corrections_pb2_grpc import CorrectionsServiceStub
from tests.support import Server, record, write_records

DEEP = '{"x": ' + "[" * 100 + "]" * 100 + "}"
LATER = [{"run_id": "r", "lines": b"{"}, {"on_conflict": pb.ON_CONFLICT_SKIP}]


def corrected(extra_json: str) -> dict[str, Any]:
    message = pb.ChatMessage(content="x", extra_json=extra_json)
    return {"id": "a", "action": pb.ACTION_CORRECT, "corrected_message": message}


def split(by: int) -> dict[str, Any]:
    made = pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.5)
    made.by = by  # type: ignore[assignment]
    return {"split": made}


FIELDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a heartbeat below none": ("Watch", {"heartbeat_seconds": -1}, "heartbeat_seconds"),
    "too slow a heartbeat": ("Watch", {"heartbeat_seconds": 301}, "heartbeat_seconds"),
    "an unknown action": ("Watch", {"actions": [99]}, "actions[0]"),
    "no action": ("Watch", {"actions": [pb.CHANGE_ACTION_UNDO, 0]}, "actions[1]"),
    "a split by what is unknown": ("StreamExport", split(9), "split.by"),
    "a snapshot that no name can be": ("StreamExport", {"snapshot": "X"}, "snapshot"),
    "a config without one": ("SetConfig", {}, "config"),
    "NaN in a message": ("Submit", corrected('{"x": NaN}'), "corrected_message.extra_json"),
    "a number beyond a double in a message": ("Submit", corrected('{"x": 1e999}'), "corrected_message.extra_json"),
    "half a character in a message": ("Submit", corrected('{"x": "\\ud800"}'), "corrected_message.extra_json"),
    "a message that nests too deep": ("Submit", corrected(DEEP), "corrected_message.extra_json"),
    "what to do at conflicts, later": ("UploadRun", {"requests": LATER}, "on_conflict"),
    "a run, later": ("UploadRun", {"requests": [LATER[0], LATER[0]]}, "run_id"),
}
RESOURCES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "a candidate": ("GetCandidate", {"id": "x"}, "Candidate", "x"),
    "a candidate to decide": ("Submit", {"id": "x", "action": pb.ACTION_FLAG}, "Candidate", "x"),
    "a run": ("Import", {"run_id": "x"}, "Run", "x"),
    "a snapshot": ("GetSnapshot", {"name": "x"}, "Snapshot", "x"),
    "a snapshot to export": ("StreamExport", {"snapshot": "x"}, "Snapshot", "x"),
    "a snapshot that is there": ("CreateSnapshot", {"name": "there"}, "Snapshot", "there"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("refusals"))
    write_records(server.candidates, [record("a")])
    server.start().stub.CreateSnapshot(pb.CreateSnapshotRequest(name="there"))
    yield server
    server.kill()


@pytest.fixture(params=["server", "memory"])
def stub(request: pytest.FixtureRequest) -> CorrectionsServiceStub:
    if request.param == "server":
        real: CorrectionsServiceStub = request.getfixturevalue("server").stub
        return real
    memory = CorrectionsServiceStub(Channel(Service([record("a")])))
    memory.CreateSnapshot(pb.CreateSnapshotRequest(name="there"))
    return memory


def details(stub: CorrectionsServiceStub, method: str, fields: dict[str, Any], kind: Any) -> Any:
    """Return the detail of this kind of the error that a call ends with."""
    made: Any = getattr(pb, METHODS[method].input_type.name)
    with pytest.raises(grpc.RpcError) as caught:
        if method == "UploadRun":
            stub.UploadRun(iter([made(**each) for each in fields["requests"]]), timeout=20)
        elif METHODS[method].server_streaming:
            list(getattr(stub, method)(made(**fields), timeout=5))
        else:
            getattr(stub, method)(made(**fields), timeout=20)
    error: Any = caught.value
    status: Any = rpc_status.from_call(error)
    assert status is not None, error
    found = [detail for detail in status.details if detail.Is(kind.DESCRIPTOR)]
    assert len(found) == 1, status
    detail = kind()
    found[0].Unpack(detail)
    return detail


@pytest.mark.parametrize("name", FIELDS)
def test_a_request_that_is_not_valid_is_refused_by_the_name_of_its_field(
    stub: CorrectionsServiceStub, name: str
) -> None:
    method, fields, field = FIELDS[name]
    refused = details(stub, method, fields, error_details_pb2.BadRequest)
    assert [violation.field for violation in refused.field_violations] == [field]


@pytest.mark.parametrize("name", RESOURCES)
def test_a_refusal_names_the_resource_that_is_missing_or_there(stub: CorrectionsServiceStub, name: str) -> None:
    method, fields, kind, resource = RESOURCES[name]
    info = details(stub, method, fields, error_details_pb2.ResourceInfo)
    assert (info.resource_type, info.resource_name) == (f"avocet.corrections.v1.{kind}", resource)
    assert info.description
