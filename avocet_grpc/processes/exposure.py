"""Whether the service may listen at its address, checked before anything is touched."""

from __future__ import annotations

from avocet_grpc.edge.address import Address
from avocet_grpc.settings import Settings


class Exposed(Exception):
    """Other machines could reach an unprotected service; the text is one line for its operator."""


def refuse_if_exposed(settings: Settings) -> Address:
    """Return the address to serve on. Raises Exposed, or CannotListen if it is not an address."""
    address = Address.parse(settings.listen, "--listen")
    protected = settings.tls_cert is not None and settings.tls_key is not None and settings.tokens_file is not None
    if not (protected or settings.insecure or address.is_local()):
        raise Exposed(
            f"{settings.listen} can be reached from other machines: set --tls-cert, --tls-key and --tokens-file,"
            " or listen on 127.0.0.1 or unix:PATH, or say --insecure"
        )
    return address
