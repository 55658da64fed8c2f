"""Who can reach the page, and which web pages may talk to it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["may_connect", "only_this_machine", "who_can_see"]


def only_this_machine(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    try:
        addresses = {str(row[4][0]) for row in socket.getaddrinfo(host, None)}
        return all(ipaddress.ip_address(address).is_loopback for address in addresses)
    except (OSError, ValueError):
        return False


def who_can_see(host: str) -> str:
    """One sentence about who can open the page at this address."""
    if only_this_machine(host):
        return "only this machine can see it"
    everywhere = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
    where = "any of this machine's addresses" if everywhere else host
    return (
        f"everyone on the network who reaches {where} can see "
        "the camera's picture and steer this session, without a password"
    )


def may_connect(headers: Mapping[str, str], host: str) -> bool:
    """Whether a browser's request comes from the page itself, and not from a web page that someone else serves.

    A browser lets any web page open a socket to this machine, and says only where that page is from. Without an
    origin it is no browser. A foreign name that was made to lead here is refused where only this machine may look.

    Args:
        headers: of the request.
        host: where the page listens.
    """
    asked = headers.get("Host", "")
    origin = headers.get("Origin")
    if only_this_machine(host) and not only_this_machine(urlsplit(f"//{asked}").hostname or ""):
        return False
    return origin is None or urlsplit(origin).netloc == asked
