"""Numbers out of their range: each field of each request, by the service's own description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Server, failure_of, record, write_records

SERVICE = pb.DESCRIPTOR.services_by_name["CorrectionsService"]
SIGNED = {
    FieldDescriptor.CPPTYPE_INT32: 2**31 - 1,
    FieldDescriptor.CPPTYPE_INT64: 2**63 - 1,
    FieldDescriptor.CPPTYPE_ENUM: 2**31 - 1,
}
ANY_NUMBER = {"split.seed"}
"""Fields that take every number that their type holds."""
GOOD: dict[str, Any] = {
    "Import": pb.ImportRequest(run_id="none"),
    "Submit": pb.SubmitRequest(id="c0", action=pb.ACTION_FLAG),
    "Undo": pb.UndoRequest(id="c0"),
    "StreamExport": pb.StreamExportRequest(
        shard_count=1, split=pb.Split(name=pb.SPLIT_NAME_TRAIN, validation_fraction=0.5)
    ),
    "Claim": pb.ClaimRequest(reviewer="kim"),
    "RenewClaims": pb.RenewClaimsRequest(lease_ids=["x"]),
    "ReleaseClaims": pb.ReleaseClaimsRequest(lease_ids=["x"]),
    "BatchSubmit": pb.BatchSubmitRequest(decisions=[pb.SubmitRequest(id="c1", action=pb.ACTION_FLAG)]),
    "CreateSnapshot": pb.CreateSnapshotRequest(name="s"),
    "UploadRun": pb.UploadRunRequest(run_id="none"),
}
"""Requests whose numbers are all valid. A method that is not listed takes the empty request."""


class Number(NamedTuple):
    """A field of a method's request, by its path; a repeated one has an index."""

    method: str
    path: str
    largest: int


def fields_of(message: Descriptor, prefix: str = "") -> Iterator[tuple[str, int]]:
    for field in message.fields:
        path = f"{prefix}{field.name}" + ("[0]" if field.is_repeated else "")
        if field.cpp_type in SIGNED:
            yield path, SIGNED[field.cpp_type]
        elif field.message_type is not None and field.message_type.file is pb.DESCRIPTOR:
            yield from fields_of(field.message_type, f"{path}.")


NUMBERS = [
    Number(method.name, path, largest) for method in SERVICE.methods for path, largest in fields_of(method.input_type)
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("numbers"))
    write_records(server.candidates, [record(f"c{n}") for n in range(3)])
    yield server.start()
    server.kill()


def call(server: Server, number: Number, value: int) -> Any:
    """The answer to a good request but for this number; of a stream the first response."""
    request = getattr(pb, SERVICE.methods_by_name[number.method].input_type.name)()
    request.MergeFrom(GOOD.get(number.method, request))
    at: Any = request
    *parents, last = number.path.split(".")
    for parent in parents:
        name = parent.removesuffix("[0]")
        at = getattr(at, name)
        if parent.endswith("[0]"):
            at = at[0] if at else at.add()
    if last.endswith("[0]"):
        getattr(at, last.removesuffix("[0]")).append(value)
    else:
        setattr(at, last, value)
    method = SERVICE.methods_by_name[number.method]
    sent: Any = iter([request]) if number.method in ("UploadRun", "StreamIngest") else request
    response = getattr(server.stub, number.method)(sent, timeout=60)
    if method.name not in ("StreamExport", "Watch"):
        return response
    first = next(response)
    response.cancel()
    return first


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{number.method}-{number.path}")
def test_a_negative_number_is_refused_by_its_field(server: Server, number: Number) -> None:
    if number.path in ANY_NUMBER:
        call(server, number, -1)
        return
    if number.method == "BatchSubmit":
        (result,) = call(server, number, -1).results
        error = result.error
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert any(number.path.rpartition(".")[2].encode() in detail.value for detail in error.details)
        return
    failure = failure_of(lambda: call(server, number, -1))
    assert failure.reason == "INVALID_FIELD", number
    assert [field.split("[")[0] for field in failure.fields] == [number.path.split("[")[0]]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: f"{number.method}-{number.path}")
def test_the_largest_number_is_answered_or_refused_for_what_it_is(server: Server, number: Number) -> None:
    try:
        call(server, number, number.largest)
    except grpc.RpcError:
        failure = failure_of(lambda: call(server, number, number.largest))
        assert failure.reason in ("INVALID_FIELD", "REVISION_MISMATCH"), number
