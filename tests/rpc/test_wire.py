"""What a request is held to before it is parsed."""

from __future__ import annotations

import gzip
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avocet_client.v1 import corrections_pb2 as pb
from avocet_grpc.core.errors import InvalidField
from avocet_grpc.edge import wire
from avocet_grpc.edge.sockets import peer_key, received_bytes

ITEM = pb.IngestRequest(source="s", task_type="t", prompt="p", response="r", correction="c", label="l", request_id="i")


@given(st.lists(st.lists(st.text(max_size=3), max_size=8), max_size=8), st.binary(max_size=40))
def test_fields_are_counted_as_they_stand_on_the_wire(items: list[list[str]], rubbish: bytes) -> None:
    request = pb.StreamIngestRequest(items=[pb.IngestRequest(prompt="".join(texts)) for texts in items])
    query = pb.QueueRequest(filter=pb.CandidateFilter(task_types=[text for texts in items for text in texts]))
    raw = request.SerializeToString()
    expected = len(request.items) + sum(bool(item.prompt) for item in request.items)
    assert wire._count(raw, 0, len(raw), request.DESCRIPTOR, 0) == expected
    raw = query.SerializeToString()
    assert wire._count(raw, 0, len(raw), query.DESCRIPTOR, 0) == 1 + len(query.filter.task_types)
    wire.refuse_many_fields(rubbish, query.DESCRIPTOR)


def test_a_full_message_of_a_stream_has_few_enough_fields() -> None:
    request = pb.StreamIngestRequest(items=[ITEM] * 1_000)
    raw = request.SerializeToString()
    assert wire.may_have_many_fields(raw) is (len(raw) > 40_000)
    wire.refuse_many_fields(raw, request.DESCRIPTOR)
    with pytest.raises(InvalidField):
        wire.refuse_many_fields(raw * 3, request.DESCRIPTOR)


def test_packed_numbers_count_each() -> None:
    query = pb.QueueRequest(filter=pb.CandidateFilter(failure_categories=[pb.FAILURE_CATEGORY_WRONG_ANSWER] * 30_000))
    with pytest.raises(InvalidField):
        wire.refuse_many_fields(query.SerializeToString(), query.DESCRIPTOR)


@given(st.binary(max_size=200), st.integers(0, 250))
def test_gzip_is_undone_or_refused(data: bytes, cut: int) -> None:
    packed = gzip.compress(data)
    assert wire.is_compressed(packed) and wire.decompressed(packed, wire.size_within(packed)) == data
    if cut < len(packed):
        with pytest.raises(InvalidField):
            wire.decompressed(packed[:cut], len(data))
    with pytest.raises(InvalidField):
        wire.decompressed(packed, len(data) + 1)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_says_what_a_connection_received(family: socket.AddressFamily) -> None:
    with socket.create_server(
        ("::" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family, dualstack_ipv6=family == socket.AF_INET6
    ) as listening:
        # A socket of both kinds sees IPv4 peers under addresses of IPv6.
        listening.listen()
        with socket.create_connection(("127.0.0.1", listening.getsockname()[1])) as sender:
            receiver, _ = listening.accept()
            with receiver:
                sender.sendall(b"x" * 12_345)
                while len(receiver.recv(20_000, socket.MSG_PEEK)) < 12_345:
                    pass
                assert received_bytes()[peer_key(f"ipv4:127.0.0.1:{sender.getsockname()[1]}")] == 12_345
    assert peer_key("ipv6:%5B::1%5D:5") == "::1 5"
