"""The generated messages and stubs of `avocet.corrections.v1`.

`protos/generate.py` makes everything here but this file, and `make lint` checks that it is fresh. The server and the
client use the same modules.

    from avocet_client.v1 import corrections_pb2, corrections_pb2_grpc

    stub = corrections_pb2_grpc.CorrectionsServiceStub(grpc.insecure_channel("127.0.0.1:50051"))
    stub.Stats(corrections_pb2.StatsRequest())

Importing this package loads nothing else of `avocet_client`, and of its modules those that are asked for: who has the
messages alone needs no gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avocet_client.v1 import corrections_pb2, corrections_pb2_grpc, error_reason_pb2

__all__ = ["corrections_pb2", "corrections_pb2_grpc", "error_reason_pb2"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
