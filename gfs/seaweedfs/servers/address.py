"""Addresses of SeaweedFS servers. Pure.

A server has two ports, one for HTTP and one for gRPC. SeaweedFS writes ``host:http.grpc``; in
``host:http``, the gRPC port is GRPC_OFFSET above the other.
"""

from __future__ import annotations

from dataclasses import dataclass

GRPC_OFFSET = 10_000
"""How far the gRPC port is above the HTTP port, by default."""

MAX_PORT = 65_535
"""The highest port of TCP."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """One server. ``http`` and ``grpc`` are ``host:port``, an IPv6 host in brackets."""

    host: str
    http_port: int
    grpc_port: int

    @property
    def http(self) -> str:
        """Where it speaks HTTP."""
        return f"{self.host}:{self.http_port}"

    @property
    def grpc(self) -> str:
        """Where it speaks gRPC."""
        return f"{self.host}:{self.grpc_port}"

    def __str__(self) -> str:
        return f"{self.host}:{self.http_port}.{self.grpc_port}"


def parse(text: str, grpc_port: int = 0) -> Address:
    """Parse ``host:http`` or ``host:http.grpc``, with an IPv6 host in brackets.

    ``grpc_port``: the gRPC port, if ``text`` does not say it; 0 for the default. Raises ValueError.
    """
    host, colon, ports = text.strip().rpartition(":")
    http, dot, grpc = ports.partition(".")
    if not colon or not host or (":" in host and not host.startswith("[")):
        raise ValueError(f"not an address of the form host:port: {text!r}")
    http_port = _port(http, text)
    return Address(
        host,
        http_port,
        _port(grpc, text) if dot else grpc_port or _port(str(http_port + GRPC_OFFSET), text),
    )


def parse_list(text: str) -> tuple[Address, ...]:
    """Parse one or more addresses with commas between them. Raises ValueError."""
    addresses = tuple(parse(part) for part in text.split(",") if part.strip())
    if not addresses:
        raise ValueError("no address is given")
    return addresses


def _port(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_PORT:
        raise ValueError(f"not a port from 1 to {MAX_PORT}: {whole!r}")
    return int(text)
