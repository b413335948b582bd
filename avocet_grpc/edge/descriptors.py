"""How many connections the process has file descriptors for."""

from __future__ import annotations

import resource

import structlog

log = structlog.get_logger("avocet_grpc")

KEPT_BACK = 200
"""Descriptors for everything but connections: the ledger, its readers, the shared files, runs, logs."""


def connections_within(wanted: int) -> int:
    """Return how many connections may be open at once: `wanted`, or as many as the process may open files for.

    The soft limit is raised as far as the hard one lets it. Beyond it, accepting would fail, and so would the ledger.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + KEPT_BACK
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = max(1, soft - KEPT_BACK, soft // 2)
    log.warning("fewer connections than configured", connections=possible, wanted=wanted, descriptors=soft)
    return possible
