"""``python -m manifests.gateway``: be the gateway, in the foreground, until a signal ends it.

For a container, where there is one address for all processes of SFS: that of a Service, behind
which every new connection leads to one of those that are ready. The name is looked up once. The
address is given to nginx TRIES times: to try another process is to make another connection.

While a gateway is replaced, its predecessor takes no new requests, but may still finish uploads,
for ``-drain`` seconds, and their changes evict nothing here. So for that time, and MARGIN_SECONDS,
nothing is kept.
"""

from __future__ import annotations

import argparse
import os
import socket
import stat
import sys
from ipaddress import ip_network
from pathlib import Path

from manifests.gateway import INSTALL, find, render

TRIES = 3
MARGIN_SECONDS = 30.0
"""What the end of a predecessor takes besides its drain: the sleep of preStop, and signals."""


def main() -> None:
    """Write the configuration, and become nginx. Exits with 1 and a sentence if it cannot."""
    parser = argparse.ArgumentParser("python -m manifests.gateway", description=__doc__)
    parser.add_argument("-listen", default="0.0.0.0:8080", help="ADDRESS:PORT")
    parser.add_argument("-upstream", required=True, help="HOST:PORT of the Service of SFS")
    parser.add_argument("-home", default="/data", help="a directory for all that it writes")
    parser.add_argument("-cache-mb", type=int, default=512, help="what is kept, on disk")
    parser.add_argument("-workers", type=int, default=2, help="processes")
    parser.add_argument("-trusted-proxy", action="append", default=[], help="a network, repeatable")
    parser.add_argument(
        "-max-requests", type=int, default=1024, help="requests of one address under way"
    )
    parser.add_argument("-max-streams", type=int, default=256, help="event streams among these")
    parser.add_argument("-drain", type=int, default=120, help="seconds for transfers after SIGQUIT")
    said = parser.parse_args()
    nginx = find()
    if nginx is None:
        sys.exit(f"gateway: there is no nginx with its Lua module: {INSTALL}")
    try:
        upstream = resolve(said.upstream)
    except (OSError, ValueError) as error:
        sys.exit(f"gateway: -upstream {said.upstream}: {error}")
    try:
        proxies = [str(ip_network(text)) for text in said.trusted_proxy]
    except ValueError as error:
        sys.exit(f"gateway: -trusted-proxy: {error}")
    command = render(
        nginx,
        Path(said.home),
        said.listen,
        [upstream] * TRIES,
        workers=str(said.workers),
        cache_mb=said.cache_mb,
        drain_seconds=said.drain,
        first_hold_seconds=said.drain + MARGIN_SECONDS,
        access_log="/dev/stdout",
        trusted_proxies=proxies,
        requests=said.max_requests,
        streams=said.max_streams,
    )
    if stat.S_ISSOCK(os.fstat(1).st_mode):
        _through_a_pipe()
    os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do  # nosec B606


def _through_a_pipe() -> None:
    """Make standard output a pipe into what it was, a socket of journald's: nginx opens its access
    log by a path, ``/dev/stdout``, and a socket cannot be opened so. The child that copies ends
    when nginx has."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.dup2(reading, 0)
        os.close(reading)
        os.close(writing)
        os.execvp("cat", ["cat"])  # noqa: S606, S607 - as in main()  # nosec B606, B607
    os.dup2(writing, 1)
    os.close(reading)
    os.close(writing)


def resolve(text: str) -> tuple[str, int]:
    """The address, as nginx writes it, and the port of HOST:PORT. ValueError, OSError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("that is not HOST:PORT")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    family, *_, address = found[0]
    name = str(address[0])
    return f"[{name}]" if family == socket.AF_INET6 else name, int(port)


if __name__ == "__main__":
    main()
