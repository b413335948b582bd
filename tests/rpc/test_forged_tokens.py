"""Page and resume tokens that callers made up: the check sum is not a secret, so the state itself may be anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status
from hypothesis import example, given
from hypothesis import strategies as st

from avocet_client.v1 import corrections_pb2 as pb
from tests.support import Failure, Server, make_run, record, take_apart, write_records

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([2**63, -1, 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
STATES = JSON | st.lists(st.none() | st.integers(-2, 2**64) | st.floats() | st.text(max_size=3), min_size=2, max_size=3)
Call = Callable[[str], object]
SHAPES = {"queue": 3, "export": 2, "list": 2}
"""How many values the state of a token has."""


def forge(payload: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(payload).digest()[:8] + payload).decode()


def payload_of(token: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(token)[8:])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("served"))
    write_records(server.candidates, [record(f"c{n}") for n in range(9)])
    server.start()
    server.set_runs_directory()
    for number in range(3):
        make_run(server.runs, f"run{number}", count=1)
    for number in range(3):
        server.correct(f"c{number}")
        server.stub.Undo(pb.UndoRequest(id=f"c{number}"))
        server.correct(f"c{number}")
        server.stub.CreateSnapshot(pb.CreateSnapshotRequest(name=f"s{number}"))
    yield server
    assert "unforeseen" not in server.log
    server.kill()


def callers(server: Server) -> dict[str, tuple[str, Call]]:
    """A token of each kind, and the call that takes it."""
    found: dict[str, tuple[str, Call]] = {}
    for order in (pb.ORDER_FILE, pb.ORDER_TIMESTAMP, pb.ORDER_QUALITY_DESC):
        page = server.stub.Queue(pb.QueueRequest(per_page=1, order=order))

        def queue(token: str, order: Any = order) -> object:
            return server.stub.Queue(pb.QueueRequest(order=order, page_token=token))

        found[f"queue {order}"] = (page.next_page_token, queue)
    runs = server.stub.ListRuns(pb.ListRunsRequest(page_size=1))
    found["runs"] = (runs.next_page_token, lambda token: server.stub.ListRuns(pb.ListRunsRequest(page_token=token)))
    first = next(iter(server.stub.StreamExport(pb.StreamExportRequest(batch_size=1))))
    found["export"] = (
        first.resume_token,
        lambda token: list(server.stub.StreamExport(pb.StreamExportRequest(resume_token=token))),
    )
    return found | team_callers(server)


def team_callers(server: Server) -> dict[str, tuple[str, Call]]:
    """The same of what a team of reviewers calls."""
    found: dict[str, tuple[str, Call]] = {}
    for order in (pb.ORDER_FILE, pb.ORDER_REVIEWED, pb.ORDER_QUALITY_DESC):
        listed = server.stub.ListCandidates(pb.ListCandidatesRequest(page_size=1, order=order))

        def list_(token: str, order: Any = order) -> object:
            return server.stub.ListCandidates(pb.ListCandidatesRequest(order=order, page_token=token))

        found[f"list {order}"] = (listed.next_page_token, list_)
    for id in ("", "c0"):
        for oldest_first in (False, True):
            asked: dict[str, Any] = {"id": id, "oldest_first": oldest_first}
            page = server.stub.ListHistory(pb.ListHistoryRequest(page_size=1, **asked))

            def history(token: str, asked: dict[str, Any] = asked) -> object:
                return server.stub.ListHistory(pb.ListHistoryRequest(page_token=token, **asked))

            found[f"history {asked}"] = (page.next_page_token, history)
    snapshots = server.stub.ListSnapshots(pb.ListSnapshotsRequest(page_size=1))
    found["snapshots"] = (
        snapshots.next_page_token,
        lambda token: server.stub.ListSnapshots(pb.ListSnapshotsRequest(page_token=token)),
    )

    def watch(token: str) -> object:
        call = server.stub.Watch(pb.WatchRequest(resume_token=token))
        try:
            return next(call)
        finally:
            call.cancel()

    found["watch"] = (first_token(server), watch)
    return found


def first_token(server: Server) -> str:
    """The token of a watch that has just begun."""
    call = server.stub.Watch(pb.WatchRequest())
    token = next(call).resume_token
    call.cancel()
    return token


def outcome(call: Call, token: str) -> str:
    try:
        call(token)
    except grpc.RpcError as error:
        told: Any = error
        status = rpc_status.from_call(told)
        return take_apart(status, Failure(told.code(), "")).reason if status else told.code().name
    return "OK"


@given(state=STATES, version=st.sampled_from([1, 1, 1, 0, True, "1", None]))
@example(state=[None, 1, 10**400], version=1)
@example(state=[float("nan"), 1, 1], version=1)
@example(state=["\ud800", 1, 1], version=1)
def test_a_state_that_we_would_not_write_is_an_invalid_field(served: Server, state: Any, version: Any) -> None:
    for kind, (token, call) in callers_of(served).items():
        _, bound, _ = payload_of(token)
        forged = forge(json.dumps([version, bound, state], separators=(",", ":")).encode())
        found = outcome(call, forged)
        assert found == "INVALID_FIELD" or (found in ("OK", "REVISION_EXPIRED") and may_pass(kind, state)), (
            kind,
            found,
        )


def may_pass(kind: str, state: Any) -> bool:
    """A state that a token of ours could have."""
    if kind == "runs":
        return isinstance(state, str)
    if kind == "snapshots":
        return type(state) is int
    if kind.startswith(("history", "watch")):
        return isinstance(state, list) and len(state) == 2 and all(type(n) is int for n in state)
    return isinstance(state, list) and all(type(n) is int for n in state[1:]) and len(state) == SHAPES[kind.split()[0]]


_callers: dict[str, dict[str, tuple[str, Call]]] = {}


def callers_of(server: Server) -> dict[str, tuple[str, Call]]:
    if server.address not in _callers:
        _callers[server.address] = callers(server)
    return _callers[server.address]


@given(payload=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
@example(payload=b"[" * 2_000)
@example(payload=b"[1,2]")
@example(payload=b'[1,"queue",NaN]')
def test_bytes_that_are_no_token_are_an_invalid_field(served: Server, payload: bytes) -> None:
    for token in (forge(payload), base64.urlsafe_b64encode(payload).decode(), payload.decode("latin-1")):
        for kind, (_, call) in callers_of(served).items():
            assert token == "" or outcome(call, token) == "INVALID_FIELD", kind


def test_a_token_of_another_spelling_is_not_ours(served: Server) -> None:
    for kind, (token, call) in callers_of(served).items():
        assert outcome(call, token) == "OK", kind
        version, bound, state = payload_of(token)
        spaced = forge(json.dumps([version, bound, state]).encode())
        assert outcome(call, spaced) == "INVALID_FIELD", kind
        assert outcome(call, token + "=") == outcome(call, token[:-1]) == "INVALID_FIELD", kind
