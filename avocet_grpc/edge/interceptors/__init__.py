"""What every call passes through, from the outside in: errors, log, auth, limits.

Owns
    The one interceptor of the server and its four layers. gRPC's own chain would cost a hand-over for each of them at
    each call, so `wrap` puts the layers round a method's handler once.

May import
    gRPC, `core.errors`, `settings`, `telemetry`, and the edge's `auth`, `status`, `call_context`, `arrivals`, `wire`.

Reading order
    `wrap`      one way round any of the four shapes of a method
    `errors`    whatever is raised inside gets its code, reason and details; the outermost layer
    `log`       one line a call, and its count
    `auth`      the caller's token against the policy table
    `limits`    how many calls at once, how long each; here the request is received

Rules
    - The order is the tuple in `interceptor` below, and nowhere else.
    - Authentication comes before anything of the request is read, for unary and streaming methods alike.
"""

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
    """Return the layers: errors outermost, so that every error gets its code; authentication before any reading."""
    return Layers(
        (
            ErrorLayer(),
            LogLayer(meter),
            AuthLayer(credentials),
            LimitLayer(gate, limits),
        )
    )
