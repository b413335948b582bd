"""What every call passes through, from the outside in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc

from avocet_grpc.edge.gate import Gate
from avocet_grpc.edge.interceptors.auth import AuthInterceptor, Credentials
from avocet_grpc.edge.interceptors.errors import ErrorInterceptor
from avocet_grpc.edge.interceptors.limits import LimitInterceptor
from avocet_grpc.edge.interceptors.log import LogInterceptor, Meter
from avocet_grpc.settings import Limits


def interceptors(
    credentials: Callable[[], Credentials], limits: Limits, gate: Gate, meter: Meter | None
) -> Sequence[grpc.aio.ServerInterceptor]:
    """Errors outermost, so that whatever is raised inside gets its code; authentication before any reading."""
    return (
        ErrorInterceptor(),
        LogInterceptor(meter),
        AuthInterceptor(credentials),
        LimitInterceptor(gate, limits.calls, limits.call_seconds, limits.stream_seconds),
    )
