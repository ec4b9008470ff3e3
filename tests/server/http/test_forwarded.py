"""Who the client is, by a table."""

from __future__ import annotations

import pytest

from sfs_server.http.forwarded import MAX_CHARACTERS, MAX_HOPS, Proxies, parse_network

TRUSTED = Proxies(map(parse_network, ("10.0.0.0/8", "192.0.2.1", "fd00::/8")))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.1.1.1", (), "10.1.1.1"),
        ("10.1.1.1", ("8.8.8.8",), "8.8.8.8"),
        ("10.1.1.1", ("1.1.1.1, 8.8.8.8",), "8.8.8.8"),
        ("10.1.1.1", ("1.1.1.1", "8.8.8.8"), "8.8.8.8"),
        ("10.1.1.1", ("1.1.1.1, 8.8.8.8, 192.0.2.1,10.2.2.2",), "8.8.8.8"),
        ("10.1.1.1", ("10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        ("fd00::1", ("2001:db8::1",), "2001:db8::1"),
        ("::ffff:10.1.1.1", ("::ffff:8.8.8.8",), "8.8.8.8"),
        ("10.1.1.1", ("8.8.8.8:443",), "8.8.8.8"),
        ("10.1.1.1", ("[2001:db8::1]:443",), "2001:db8::1"),
        ("10.1.1.1", ("[2001:db8::1]",), "2001:db8::1"),
        # Who is not trusted is the client, whatever they say.
        ("8.8.8.8", ("1.1.1.1",), "8.8.8.8"),
        ("192.0.2.2", ("1.1.1.1",), "192.0.2.2"),
        # Nonsense says nothing.
        ("10.1.1.1", ("",), "10.1.1.1"),
        ("10.1.1.1", ("unknown",), "10.1.1.1"),
        ("10.1.1.1", ("8.8.8.8, unknown, 10.2.2.2",), "10.2.2.2"),
        ("10.1.1.1", ("8.8.8.8, _hidden",), "10.1.1.1"),
        ("10.1.1.1", ("1.2.3",), "10.1.1.1"),
        ("10.1.1.1", ("[8.8.8.8\n]",), "10.1.1.1"),
        ("10.1.1.1", ('fe80::1%" forged',), "10.1.1.1"),
        ("10.1.1.1", (",,,",), "10.1.1.1"),
        ("10.1.1.1", ("8.8.8.8," + "10.2.2.2," * MAX_HOPS + "10.3.3.3",), "10.2.2.2"),
        # No more is looked at than so many hops have characters.
        ("10.1.1.1", ("9" * 20_000 + ", 8.8.8.8",), "8.8.8.8"),
        ("10.1.1.1", ("118.8.8.8" + " " * (MAX_CHARACTERS - len("8.8.8.8")),), "10.1.1.1"),
        ("not an address", ("8.8.8.8",), "not an address"),
        (None, ("8.8.8.8",), None),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    peer: str | None, forwarded: tuple[str, ...], client: str | None
) -> None:
    assert TRUSTED.client(peer, forwarded) == client


def test_without_trusted_proxies_the_client_is_the_peer() -> None:
    assert Proxies().client("10.1.1.1", ("8.8.8.8",)) == "10.1.1.1"


@pytest.mark.parametrize("text", ["", "a", "10.0.0.1/8", "10.0.0.0/33", "1.2.3", "::/129"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_network(text)
