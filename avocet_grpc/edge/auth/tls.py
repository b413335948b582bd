"""TLS: the certificate, its key, and the CA of clients, read again when they change."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import grpc

from avocet_grpc.edge.auth.reloading import Unreadable, Watched, read_text


def watch_certificate(cert: Path, key: Path, client_ca: Path | None) -> Watched[grpc.ServerCertificateConfiguration]:
    """The certificate as gRPC takes it. Raises Unreadable where the files do not fit together."""
    paths = [cert, key, *([client_ca] if client_ca else [])]
    return Watched("certificate", paths, lambda: _read(cert, key, client_ca))


def server_credentials(
    certificate: Watched[grpc.ServerCertificateConfiguration], ask_clients: bool
) -> grpc.ServerCredentials:
    """Credentials that give each new connection the certificate of that moment; connections that stand keep theirs."""
    given = certificate.value

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if certificate.value is given:
            return None
        given = certificate.value
        return given

    fetch: Callable[[], grpc.ServerCertificateConfiguration | None] = newer
    return grpc.dynamic_ssl_server_credentials(given, fetch, ask_clients)  # type: ignore[arg-type]


def _read(cert: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    chain, private = read_text(cert), read_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        raise Unreadable(f"{cert} and {key} are no certificate and its key, both PEM without a password") from error
    return grpc.ssl_server_certificate_configuration(
        [(private.encode(), chain.encode())], _authorities(client_ca).encode() if client_ca else None
    )


def _authorities(path: Path) -> str:
    text = read_text(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise Unreadable(f"{path} holds no CA certificates in PEM") from error
    return text
