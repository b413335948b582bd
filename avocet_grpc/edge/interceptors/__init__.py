"""What every call passes through, from the outside in: errors, log, auth, limits.

Owns
    The one interceptor of the server: `passage` puts all layers round a method's handler once. That is simpler than
    gRPC's own chain, and costs the same.

May import
    gRPC, `core.errors`, `settings`, `telemetry`, and the edge's `auth`, `status`, `call_context`, `message_limits`,
    `arrivals`, `answers`, `unfinished`, `shutdown_gate`.

Reading order
    `passage`   the way of a call through all layers, for each of the four shapes of a method
    `errors`    whatever is raised inside gets its code, reason and details; the outermost layer
    `log`       one line a call, and its count
    `auth`      the caller's token against the policy table
    `limits`    how many calls at once, how long each; then the request is received

Rules
    - The order of the layers is that of `passage.Passage`, and nowhere else.
    - Authentication comes before anything of the request is read, for unary and streaming methods alike.
"""

from __future__ import annotations

from collections.abc import Callable

from avocet_grpc.edge.auth.tokens import Credentials
from avocet_grpc.edge.interceptors.auth import Admission
from avocet_grpc.edge.interceptors.limits import Limiter
from avocet_grpc.edge.interceptors.log import CallLog, Meter
from avocet_grpc.edge.interceptors.passage import Passage
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits


def interceptor(credentials: Callable[[], Credentials], limits: Limits, gate: Gate, meter: Meter | None) -> Passage:
    """Return the way of every call."""
    return Passage(CallLog(meter), Admission(credentials), Limiter(gate, limits))
