"""Whose address a request came from, when it came through proxies. Pure.

``X-Forwarded-For`` says what its sender likes. Each proxy appends the address that its request came
from, so the field is read from the right, from the peer of the connection on: as long as an address
is a trusted proxy's, the one before it is believed; the first that is not is the client. What
stands to the left of that was written by the client, or by somebody nobody vouches for. The service
writes no absolute URL, so it needs none of ``X-Forwarded-Host`` and ``X-Forwarded-Proto``.
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
"""Of X-Forwarded-For, from its end: room for MAX_HOPS addresses. What was found is remembered under
this text, so it is short."""

MAX_HOPS = 16
"""Proxies behind each other; what stands further to the left is not looked at."""

_WITH_PORT = pattern(r"\[([^\]]*)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


def parse_network(text: str) -> Network:
    """The network that ``text`` names: an address, or one and the length of a prefix. ValueError
    if it names none, or has bits set behind its prefix."""
    return ip_network(text)


def customer(address: str) -> str:
    """What of an address stands for one client where clients are counted: of IPv6 the first 64
    bits, in which one client has all addresses that it likes."""
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
            text = text[-MAX_CHARACTERS:].partition(",")[2]  # not from the middle of an address on
        return self._client(peer, text)

    def _find(self, peer: str, forwarded: str) -> str:
        found = _address(peer)
        if found is None:
            return peer
        for text in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            if not any(found in network for network in self._networks):
                break
            before = _address(text.strip())
            if before is None:  # 'unknown', or nonsense: the proxy that said so is all we know
                break
            found = before
        return str(found)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address, also with a port; an IPv4 address that an IPv6 socket shows as itself."""
    found = _WITH_PORT.fullmatch(text)
    if found is not None:
        text = found[1] or found[2] or ""
    if "%" in text:  # what follows names an interface of somebody's, and may be any text
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
