"""Where a database is: the parts of its URL, and the addresses to which to connect. No SQL here.

libpq resolves host names with a blocking call, which would stop the event loop for as long as the
resolver takes (5 s and more when it does not respond). So the names are resolved with
``loop.getaddrinfo``, in a thread, and libpq gets the address as ``hostaddr``, besides the name as
``host``, which TLS verifies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from sfs_server.config import ConfigError

MAX_ADDRESSES = 8
"""How many IP addresses are tried at most, those of all hosts of one URL together."""

_KEEPALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""Parameters of libpq, used where the URL does not set them, by which TCP finds dead connections:
an idle one after 25 s, one with unacknowledged data after 15 s."""

BAD_URL = (
    "the database URL cannot be read: it has the form postgresql://USER:PASSWORD@HOST:PORT/NAME, "
    "where special characters of a part are percent-encoded (@ as %40, / as %2F)"
)


class DatabaseAddress:
    """Where a database is, from ``parts``: libpq's connection parameters by their names.

    Raises ConfigError if the host, port or name of the database contains what none can contain.
    That happens when an ``@`` or ``/`` in the password is not percent-encoded: a part of the
    password would be taken for one of these, and would be logged.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts = parts
        self._host = parts.get("host", "")
        self._port = parts.get("port", "")
        self._name = parts.get("dbname", "")
        if "@" in self._name or "/" in self._name or "@" in self._host.lstrip("@"):
            raise ConfigError(BAD_URL)
        if not all(port.isdecimal() for port in self._port.split(",") if port):
            raise ConfigError(BAD_URL)

    def __str__(self) -> str:
        """``host:port/name``, for messages to operators."""
        return f"{self._host or 'the default host'}:{self._port or 5432}/{self._name}"

    def without_password(self, text: str) -> str:
        """``text``, in which the password is replaced by ``***`` if it occurs."""
        password = self._parts.get("password")
        return text.replace(password, "***") if password else text

    async def candidates(self) -> list[dict[str, str]]:
        """The addresses to try in this order, 1 to MAX_ADDRESSES of them: for each the connection
        parameters that override those of the URL.

        Raises OSError if no host of the URL can be resolved.
        """
        common = {key: value for key, value in _KEEPALIVE.items() if key not in self._parts}
        if not self._host or "hostaddr" in self._parts:
            return [common]
        hosts = self._host.split(",")
        ports = self._port.split(",")
        if len(ports) == 1:
            ports *= len(hosts)
        found: list[dict[str, str]] = []
        failure = OSError("the URL of the database names no host")
        for host, port in zip(hosts, ports, strict=False):
            here = {**common, "host": host, "port": port or "5432"}
            if host.startswith(("/", "@")):
                found.append(here)
                continue
            try:
                found += [{**here, "hostaddr": ip} for ip in await _resolve(host)]
            except OSError as error:
                failure = error
        if not found:
            raise failure
        return found[:MAX_ADDRESSES]


async def _resolve(host: str) -> list[str]:
    """The IP addresses of ``host`` in the order in which to try them, without duplicates. Raises
    OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in infos))
