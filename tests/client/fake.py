"""A small gRPC server of a test's own, for what the service cannot be made to do on cue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.v1 import corrections_pb2_grpc

METHODS = pb.DESCRIPTOR.services_by_name["CorrectionsService"].methods


class FakeServer:
    """Answers every method with `behave(method, request, context)`, and counts the attempts."""

    def __init__(
        self, behave: Callable[..., Any], credentials: grpc.ServerCredentials | None = None, threads: int = 4
    ) -> None:
        self.attempts: Counter[str] = Counter()
        self.requests: list[Any] = []
        self._behave = behave
        self._server = grpc.server(futures.ThreadPoolExecutor(threads), options=[("grpc.so_reuseport", 0)])
        for method in METHODS:
            setattr(self, method.name, self._counted(method.name))
        servicer: Any = self
        corrections_pb2_grpc.add_CorrectionsServiceServicer_to_server(servicer, self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(None)

    def _counted(self, name: str) -> Callable[..., Any]:
        def handle(request: Any, context: Any) -> Any:
            self.attempts[name] += 1
            self.requests.append(request)
            return self._behave(name, request, context)

        return handle


def unavailable(name: str, request: Any, context: Any) -> Any:
    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
