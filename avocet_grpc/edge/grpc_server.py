"""The gRPC server: all services that it has, behind the interceptor, within the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_grpc.edge.async_ledger import Backend
from avocet_grpc.edge.auth.tokens import Credentials
from avocet_grpc.edge.change_hub import ChangeHub
from avocet_grpc.edge.health import Health
from avocet_grpc.edge.interceptors import interceptor
from avocet_grpc.edge.interceptors.log import Meter
from avocet_grpc.edge.reflection import add_reflection
from avocet_grpc.edge.server_options import server_options
from avocet_grpc.edge.servicer import SERVICE, CorrectionsServicer, method_handlers
from avocet_grpc.edge.shutdown_gate import Gate
from avocet_grpc.settings import Limits

HEALTH: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
CHANNELZ: str = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


def build_server(
    backend: Backend,
    health: Health,
    credentials: Callable[[], Credentials],
    limits: Limits,
    gate: Gate,
    meter: Meter | None,
    *,
    share_port: bool = False,
) -> grpc.aio.Server:
    """Return a server that listens nowhere yet.

    Channelz, which shows every caller's address, needs somebody to ask for it.
    """
    with_channelz = not credentials().open
    server = grpc.aio.server(
        interceptors=(interceptor(credentials, limits, gate, meter),),
        options=server_options(limits, with_channelz, share_port),
    )
    hub = ChangeHub(backend.read, backend.read_for_stream)
    backend.on_commit(hub.wake)
    gate.on_shut(hub.stop)
    server.add_generic_rpc_handlers((method_handlers(CorrectionsServicer(backend, hub)),))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflected: Sequence[str] = (SERVICE, HEALTH)
    if with_channelz:
        channelz.add_channelz_servicer(server)
        reflected = (*reflected, CHANNELZ)
    add_reflection(reflected, server)
    return server
