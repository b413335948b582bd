"""What every call passes through, from the outside in."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from avocet_grpc.edge.interceptors.auth import AuthInterceptor
from avocet_grpc.edge.interceptors.errors import ErrorInterceptor
from avocet_grpc.edge.interceptors.log import LogInterceptor


def interceptors(ingestion_secret: str) -> Sequence[grpc.aio.ServerInterceptor]:
    """Errors outermost, so that whatever is raised inside gets its code; authentication before any validation."""
    return (ErrorInterceptor(), LogInterceptor(), AuthInterceptor(ingestion_secret))
