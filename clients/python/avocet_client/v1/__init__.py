"""The generated messages and stubs of `avocet.corrections.v1`."""

from avocet_client.v1 import corrections_pb2, corrections_pb2_grpc, error_reason_pb2

__all__ = ["corrections_pb2", "corrections_pb2_grpc", "error_reason_pb2"]
