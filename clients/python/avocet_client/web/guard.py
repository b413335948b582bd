"""Refuses requests that a foreign web page makes a browser send: forged ones, and those of a rebound host name.

A page of another origin may send a form, an image or a `no-cors` fetch to any address that its reader's browser
reaches, loopback included. A name that first led to the page's own server may later lead to 127.0.0.1 (DNS rebinding);
the `Host` header then still has that name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_SIMPLE = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


def any_page_can_send(content_type: str) -> bool:
    """Return whether a browser sends a body of this type to any address without asking that address first."""
    return content_type.partition(";")[0].strip().lower() in _SIMPLE


class Guard:
    """Knows the hosts and origins that are ours.

    `hosts` are the names that lead here; with a port, the port must match. An address literal cannot be rebound, so
    with `literals` every one of them is ours. A page of one of the `origins` (`https://label.example`) may call, too.
    """

    def __init__(self, hosts: Collection[str], *, literals: bool = False, origins: Collection[str] = ()) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._hosts = {host.lower() for host in hosts} | {urlsplit(origin).netloc.lower() for origin in self._origins}
        self._literals = literals

    def refusal(self, headers: Mapping[str, str], *, changes: bool = True) -> str | None:
        """Return why the request is refused, or None. `changes`: it may change something, so its origin counts."""
        host = headers.get("host", "").lower()
        if not self._is_ours(host):
            return f"the host {host!r} is not this server's"
        origin = headers.get("origin", "").lower()
        if not changes or origin in self._origins:
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
