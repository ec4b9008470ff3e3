"""The address of the client, and the host that it asked for, where its request came through
proxies. Pure.

Any client can send ``X-Forwarded-For``, with any text. Each proxy appends the address that its
request came from, so the field is read from the right, starting with the peer of the connection: as
long as an address is a trusted proxy's, the one before it is believed; the first that is not is the
client. What stands to the left of that was written by the client, or by a proxy that is not
trusted.

The service writes no absolute URL. It compares the Destination of a MOVE with the host that the
client has asked for: with ``Host``, and with all that a trusted proxy wrote into
``X-Forwarded-Host``. It does not need ``X-Forwarded-Proto``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from re import compile as pattern

Network = IPv4Network | IPv6Network

MAX_CHARACTERS = 1024
"""Characters of X-Forwarded-For that are read, from its end: enough for MAX_HOPS addresses. They
are also the key under which the result is cached."""

MAX_HOPS = 16
"""Addresses of X-Forwarded-For that are read, from its end."""

_WITH_PORT = pattern(r"\[([^\]]*)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


def parse_network(text: str) -> Network:
    """The network that ``text`` names: an address, or an address, a slash and the length of a
    prefix. Raises ValueError if it is neither, or has bits set behind its prefix."""
    return ip_network(text)


def client_network(address: str) -> str:
    """What one client is counted by: its IPv4 address, or the network of the first 64 bits of its
    IPv6 address, in which a client can take any address."""
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((found, 64), strict=False))
    return address if found is None else str(found)


class Proxies:
    """The networks of the proxies that are trusted."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._client = lru_cache(1024)(self._find)

    def __repr__(self) -> str:
        return f"<Proxies {list(map(str, self._networks))}>"

    def client(self, peer: str | None, forwarded: Iterable[str]) -> str | None:
        """The client's address. ``peer`` is the other end of the connection, ``forwarded`` are the
        X-Forwarded-For fields of the request in their order."""
        if not self._networks or peer is None:
            return peer
        text = ",".join(forwarded)
        if len(text) > MAX_CHARACTERS:
            text = text[-MAX_CHARACTERS:].partition(",")[2]  # the first address may be cut
        return self._client(peer, text)

    def hosts(
        self, peer: str | None, asked: Iterable[str], forwarded: Iterable[str]
    ) -> frozenset[str]:
        """The hosts that the client may mean when it names this service. ``peer`` is the other end
        of the connection, ``asked`` are the fields Host and ``forwarded`` X-Forwarded-Host."""
        found = set(asked)
        address = None if peer is None else _address(peer)
        if address is not None and any(address in network for network in self._networks):
            found.update(",".join(forwarded).split(","))
        return frozenset(host.strip() for host in found if host.strip())

    def _find(self, peer: str, forwarded: str) -> str:
        found = _address(peer)
        if found is None:
            return peer
        for text in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            if not any(found in network for network in self._networks):
                break
            before = _address(text.strip())
            if before is None:  # 'unknown', or no address: the proxy that sent it is the client
                break
            found = before
        return str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in ``text``, behind which a port may stand; an IPv4 address that is mapped to
    IPv6 as an IPv4 address. None if there is none."""
    found = _WITH_PORT.fullmatch(text)
    if found is not None:
        text = found[1] or found[2] or ""
    if "%" in text:  # what follows names a network interface, and may be any text
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
