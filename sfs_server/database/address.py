"""Where a database is: the parts of its URL, and the addresses to try in turn. No SQL here.

libpq resolves host names with a blocking call, which would stop the event loop for as long as a
resolver takes (5 s and more when it is unavailable). Names are therefore resolved by the loop's own
resolver, in a thread, and handed to libpq as ``hostaddr`` next to the ``host`` that TLS verifies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from sfs_server.config import ConfigError

MAX_ADDRESSES = 8
"""Of the hosts of one URL: how many are tried."""

_KEEPALIVE = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""TCP's own watch over idle connections, where the URL does not set it: dead after 25 s."""

BAD_URL = (
    "the database URL cannot be read: it has the form postgresql://USER:PASSWORD@HOST:PORT/NAME, "
    "where special characters of a part are percent-encoded (@ as %40, / as %2F)"
)


class DatabaseAddress:
    """The address in ``parts``, libpq's connection parameters by their names.

    Raises ConfigError for an address that makes no sense. A separator in the password that is not
    percent-encoded makes such a one: it would put a part of the password where it is shown.
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
        """``host:port/name``, to be shown to an operator."""
        return f"{self._host or 'the default host'}:{self._port or 5432}/{self._name}"

    def without_password(self, text: str) -> str:
        """``text`` with the password, should it be in there, replaced."""
        password = self._parts.get("password")
        return text.replace(password, "***") if password else text

    async def candidates(self) -> list[dict[str, str]]:
        """What to override in the URL for each address to try: 1 to MAX_ADDRESSES of them.

        Raises OSError when no host of the URL can be resolved.
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
    """The addresses of ``host`` in the order in which to try them, without repetitions."""
    loop = asyncio.get_running_loop()
    answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))
