"""Interceptors, outermost first in `avocet_grpc.server`."""
