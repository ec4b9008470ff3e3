"""About ``-addr``: which URL opens the service, who can reach it, why it cannot be listened on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import Any

from sfs_server.config import ConfigError

_REMEDIES = {
    errno.EADDRINUSE: "Stop what listens there, or give another -addr",
    errno.EADDRNOTAVAIL: "Give an address of this machine",
    errno.EACCES: "Ports below 1024 are for root, or CAP_NET_BIND_SERVICE: give another -addr",
}

_ANY = {"0.0.0.0": "IPv4", "::": "IPv6"}  # noqa: S104 - to recognize them  # nosec B104

_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, 3849): packets to them would take the default route."""


def failure(host: str, port: int, error: OSError) -> ConfigError:
    """The ConfigError for ``error`` of listening on ``host`` (empty: every interface), ``port``."""
    resolving = isinstance(error, socket.gaierror)  # whose numbers are not the system's
    reason = error.strerror if resolving else os.strerror(error.errno or 0)
    remedy = "Give another -addr" if resolving else _REMEDIES.get(error.errno or 0, "")
    return ConfigError(
        f"-addr {_joined(host, port)} cannot be listened on: {reason}. {remedy}".rstrip(". ") + "."
    )


def described(host: str, names: Sequence[tuple[Any, ...]]) -> tuple[str, str | None]:
    """A URL that opens the service on this machine, and for all interfaces a phrase with the URLs
    for others, else None. ``host`` is that of ``-addr``; ``names`` are those of the sockets.
    """
    every = {_ANY[name[0]]: name[1] for name in names if name[0] in _ANY}
    if not every:
        return f"http://{_joined(host, names[0][1])}", None
    if len(set(every.values())) > 1:  # -addr :0 gives each a port of its own
        local = "127.0.0.1"
    else:
        local = "localhost" if "IPv4" in every else "::1"
    others = [
        f"http://{_joined(found, every[kind])}"
        for kind, (family, there) in zip(_ANY.values(), _ELSEWHERE, strict=True)
        if kind in every and (found := _own_address(family, there))
    ]
    where = f": {' and '.join(others)}" if others else ""
    origin = f"http://{_joined(local, next(iter(every.values())))}"
    return origin, f"all interfaces, {' and '.join(every)}{where}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_address(family: socket.AddressFamily, there: str) -> str | None:
    """The address from which this machine would send to ``there``; connecting a datagram socket
    sends nothing. None where there is no route."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((there, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None
