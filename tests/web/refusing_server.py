"""A gRPC server in front of the real one: it passes every call on, but for methods that it is told to refuse."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status


class RefusingServer(grpc.GenericRpcHandler):
    """Ends each call of a method that `refused` names with the status that stands there."""

    def __init__(self, address: str) -> None:
        self.refused: dict[str, status_pb2.Status] = {}
        self._channel = grpc.insecure_channel(address)
        self._server = grpc.server(ThreadPoolExecutor(16), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        path = details.method

        def call(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            if (status := self.refused.get(path.rpartition("/")[2])) is not None:
                context.abort_with_status(rpc_status.to_status(status))
            passed_on: Any = self._channel.unary_stream(path)
            answers = passed_on(request, metadata=details.invocation_metadata)
            try:
                yield from answers
            except grpc.RpcError:
                context.set_trailing_metadata(answers.trailing_metadata())
                context.abort(answers.code(), answers.details())

        return grpc.unary_stream_rpc_method_handler(call)

    def __enter__(self) -> RefusingServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None)
        self._channel.close()
