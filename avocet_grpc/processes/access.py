"""Who may call the service."""

from __future__ import annotations

from typing import Any

from avocet_grpc.edge.auth.credentials import WatchedCredentials
from avocet_grpc.edge.auth.reloading import Watched
from avocet_grpc.edge.auth.tls import watch_certificate
from avocet_grpc.settings import Settings


class CannotServe(Exception):
    """The settings do not allow to serve; the text is one line for the service's operator."""


class Access:
    """The tokens and the certificate. Raises CannotServe or Unreadable."""

    def __init__(self, settings: Settings) -> None:
        self.credentials = WatchedCredentials(settings)
        self.certificate = None
        self.asks_clients = settings.tls_client_ca is not None
        if settings.tls_cert and settings.tls_key:
            self.certificate = watch_certificate(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        elif settings.tls_cert or settings.tls_key or settings.tls_client_ca:
            raise CannotServe("TLS needs both --tls-cert and --tls-key")

    @property
    def _watched(self) -> list[Watched[Any] | WatchedCredentials]:
        return [self.credentials, *([self.certificate] if self.certificate else [])]

    def refresh(self, force: bool = False) -> None:
        """Read again what has changed; with `force` in any case."""
        for watched in self._watched:
            watched.refresh(force)

    def reload_failures(self) -> int:
        """Return how often a changed file could not be taken up."""
        return sum(watched.failures for watched in self._watched)
