"""Refuses requests that a foreign web page makes a browser send: forged ones, and those of a rebound host name.

A page of another origin may send a form, an image or a `no-cors` fetch to any address that its reader's browser
reaches, loopback included. A name that first led to the page's own server may later lead to 127.0.0.1 (DNS rebinding);
the `Host` header then still has that name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

MOST_HEADER = 7_000
"""The service takes some 8 kB of metadata in all."""
MOST_PORT = 65_535
_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?")
_SIMPLE = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


def any_page_can_send(content_type: str) -> bool:
    """Return whether a browser sends a body of this type to any address without asking that address first."""
    return media_type(content_type) in _SIMPLE


def media_type(content_type: str) -> str:
    """Return the type of a `Content-Type` without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def origin_of(text: str) -> str:
    """Return an origin as browsers send it. Raises ValueError for what no page can have."""
    found = _ORIGIN.fullmatch(text.lower())
    if not found or int(found[3] or 0) > MOST_PORT:
        raise ValueError(
            f"an origin is a scheme, a host and perhaps a port, such as https://label.example; it is {text!r}"
        )
    scheme, host, port = found.groups()
    return f"{scheme}://{host}" + (f":{int(port)}" if port and int(port) != _PORTS[scheme] else "")


def is_sendable(value: str, most: int = MOST_HEADER) -> bool:
    """Return whether gRPC can send this as a value of metadata."""
    return len(value) <= most and all(" " <= character <= "~" for character in value)


class Guard:
    """Knows the hosts and origins that are ours.

    `hosts` are the names that lead here; with a port, the port must match. An address literal cannot be rebound, so
    with `literals` every one of them is ours. A page of one of the `origins` (`https://label.example`) may call, too.
    Raises ValueError for an origin that no page can have.
    """

    def __init__(self, hosts: Collection[str], *, literals: bool = False, origins: Collection[str] = ()) -> None:
        self.origins = frozenset(origin_of(origin) for origin in origins)
        self._hosts = {host.lower() for host in hosts} | {urlsplit(origin).netloc.lower() for origin in self.origins}
        self._literals = literals

    def refusal(self, headers: Mapping[str, str], *, changes: bool = True) -> str | None:
        """Return why the request is refused, or None. `changes`: it may change something, so its origin counts."""
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            return f"the host {host!r} is not this server's"
        origin = headers.get("origin", "").lower()
        if not changes or origin in self.origins:
            return None
        if origin and origin not in (f"http://{host}", f"https://{host}"):
            return f"the origin {origin!r} is foreign"
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none"):
            return f"the request comes from a page of another site ({site})"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        return host in self._hosts or name in self._hosts or (self._literals and _is_literal(name))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
