"""What every call passes through, from the outside in."""

from __future__ import annotations

from collections.abc import Callable

from avocet_grpc.edge.interceptors.auth import AuthLayer, Credentials
from avocet_grpc.edge.interceptors.errors import ErrorLayer
from avocet_grpc.edge.interceptors.limits import LimitLayer
from avocet_grpc.edge.interceptors.log import LogLayer, Meter
from avocet_grpc.edge.interceptors.wrap import Layers
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits


def interceptor(credentials: Callable[[], Credentials], limits: Limits, gate: Gate, meter: Meter | None) -> Layers:
    """Errors outermost, so that whatever is raised inside gets its code; authentication before any reading."""
    return Layers(
        (
            ErrorLayer(),
            LogLayer(meter),
            AuthLayer(credentials),
            LimitLayer(gate, limits),
        )
    )
