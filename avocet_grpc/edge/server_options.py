"""The limits as gRPC's core takes them."""

from __future__ import annotations

from typing import Any

from avocet_grpc.edge.descriptors import connections_within
from avocet_grpc.settings import Limits

PING_STRIKES = 2
IDENTITY, GZIP = 1, 4
"""Bits of `grpc/impl/compression_types.h`."""


def server_options(limits: Limits, channelz: bool, share_port: bool) -> list[tuple[str, Any]]:
    """Return the options of the server. Each name is one of gRPC's `grpc/impl/channel_arg_names.h`."""
    return [
        # Two services on one port would share its calls without a word; workers of one service are meant to.
        ("grpc.so_reuseport", int(share_port)),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        # Requests are decompressed by us, within their method's limit. Deflate cannot be told from a message.
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY | GZIP),
        # What a stream may send before its call reads; the window would grow with the connection's speed.
        ("grpc.http2.lookahead_bytes", limits.ahead_bytes),
        ("grpc.http2.bdp_probe", 0),
        # Between the two, calls would be refused at random.
        ("grpc.max_metadata_size", limits.metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_allowed_incoming_connections", connections_within(limits.connections)),
        ("grpc.server_handshake_timeout_ms", limits.handshake_seconds * 1000),
        # Until its peer has acknowledged the settings, a connection is not held to them.
        ("grpc.http2.settings_timeout", limits.handshake_seconds * 1000),
        ("grpc.max_connection_idle_ms", limits.idle_seconds * 1000),
        ("grpc.max_connection_age_ms", limits.connection_seconds * 1000),
        ("grpc.max_connection_age_grace_ms", int(limits.stream_seconds * 1000)),
        ("grpc.keepalive_time_ms", limits.ping_seconds * 1000),
        ("grpc.keepalive_timeout_ms", limits.ping_timeout_seconds * 1000),
        # The former bounds unacknowledged bytes alone; without this a silent peer would stay for a minute.
        ("grpc.http2.ping_timeout_ms", limits.ping_timeout_seconds * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.client_ping_seconds * 1000),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
        ("grpc.enable_channelz", int(channelz)),
    ]
