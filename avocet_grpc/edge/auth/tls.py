"""TLS: the certificate, its key, and the CA of clients, read again when they change."""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc

from avocet_grpc.edge.auth.reloading import Watched
from avocet_grpc.foreign_files import Unreadable, read_text


def watch_certificate(cert: Path, key: Path, client_ca: Path | None) -> Watched[grpc.ServerCertificateConfiguration]:
    """Return the certificate as gRPC takes it. Raises Unreadable if the files do not fit together."""
    paths = [cert, key, *([client_ca] if client_ca else [])]
    return Watched("certificate", paths, lambda: _read(cert, key, client_ca))


def server_credentials(
    certificate: Watched[grpc.ServerCertificateConfiguration], ask_clients: bool
) -> grpc.ServerCredentials:
    """Return credentials that give each new connection the current certificate; open connections keep the old one."""
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
    chain, private = read_text(cert).encode(), read_text(key).encode()
    authorities = _authorities(client_ca) if client_ca else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # OpenSSL wants names of files; those on the disk may be others by now.
        with _named(chain) as chain_name, _named(private) as key_name:
            context.load_cert_chain(chain_name, key_name, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise Unreadable(f"{cert} and {key} are not a certificate and its key, both PEM without a password") from error
    return grpc.ssl_server_certificate_configuration([(private, chain)], authorities)


@contextlib.contextmanager
def _named(content: bytes) -> Iterator[str]:
    """A name under which `content` can be read, in memory if the system can do that."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("pem"), "wb", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name


def _authorities(path: Path) -> bytes:
    text = read_text(path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise Unreadable(f"{path} holds no CA certificates in PEM") from error
    return text.encode()
