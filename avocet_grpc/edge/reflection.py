"""Server reflection, by its released name `v1` and by `v1alpha`, which older tools ask for.

Both have the same messages under other names. grpcio-reflection has `v1alpha` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1ALPHA: str = reflection.SERVICE_NAME
V1 = "grpc.reflection.v1.ServerReflection"
_FILE = "grpc/reflection/v1/reflection.proto"
_METHOD = "ServerReflectionInfo"


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Let the server describe these services, and reflection itself."""
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*services, V1ALPHA, V1))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for service in (V1ALPHA, V1):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {_METHOD: handler}),))


def _describe_v1() -> None:
    """Make the descriptor of `v1` known, so that a tool can ask for it like for any other service."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_FILE)
    except KeyError:
        old = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(old)
        new = text_format.Parse(text_format.MessageToString(old).replace("v1alpha", "v1"), FileDescriptorProto())
        new.name = _FILE
        pool.AddSerializedFile(new.SerializeToString())
