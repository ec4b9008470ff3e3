"""Where a MOVE goes: its Destination, Overwrite and Depth."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from gfs.errors import InvalidName
from sfs_server.errors import Problem
from sfs_server.http.destination import destination, overwrites, refuse_depth
from sfs_server.http.forwarded import Proxies, parse_network
from sfs_server.http.names import Target

HOSTS = {"files.example", "inner:8080"}


def headers(name: str, *values: str) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for value in values)


@pytest.mark.parametrize(
    ("text", "path", "folder"),
    [
        ("/storage/team/b", "b", False),
        ("/storage/team/a/b.txt", "a/b.txt", False),
        ("/storage/team/a/b/", "a/b", True),
        ("/storage/team/./a/./b/.", "a/b", True),
        ("/storage/team/", "", True),
        ("/storage/team", "", False),
        ("/storage/team/download/x", "download/x", False),
        ("/%73torage/te%61m/100%25%20%3F%23", "100% ?#", False),
        ("/storage/team/a%2520b", "a%20b", False),
        ("/storage/team/été", "été", False),
        ("http://files.example/storage/team/b", "b", False),
        ("https://files.example/storage/team/b", "b", False),
        ("HTTP://FILES.example:80/storage/team/b", "b", False),
        ("https://files.example:443/storage/team/b/", "b", True),
        ("http://files.example:/storage/team/b", "b", False),
        ("http://inner:8080/storage/team/b", "b", False),
    ],
)
def test_a_destination_is_a_path_or_a_url_of_this_host(text: str, path: str, folder: bool) -> None:
    assert destination(headers("Destination", text), HOSTS) == Target("team", path, folder)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("http://other.example/storage/team/b", 502),
        ("http://files.example:8080/storage/team/b", 502),
        ("https://files.example:80/storage/team/b", 502),
        ("http://inner/storage/team/b", 502),
        ("http://files.example.evil.example/storage/team/b", 502),
        ("ftp://files.example/storage/team/b", 502),
        ("http:///storage/team/b", 502),
        ("http://files.example,inner/storage/team/b", 502),
        ("http://user@files.example/storage/team/b", 400),
        ("http://files.example", 400),
        ("http:/storage/team/b", 400),
        ("storage/team/b", 400),
        ("b", 400),
        ("", 400),
        ("//files.example/storage/team/b", 400),
        ("/", 400),
        ("/storage", 400),
        ("/storage/", 400),
        ("/other/team/b", 400),
        ("/api/session", 400),
        ("/storage/download/team/b", 400),
        ("/storage/%64ownload/team/b", 400),
        ("/storage/files/b", 400),
        ("/storage/namespaces/team", 400),
        ("/storage/team/a//b", 400),
        ("/storage/team/a/../b", 400),
        ("/storage/team/%2e%2e", 400),
        ("/storage/team/a%2Fb", 400),
        ("/storage/team/a%zz", 400),
        ("/storage/team/%ff", 400),
        ("/storage/team/a\udcff", 400),
        ("/storage/team/b?token=x", 400),
        ("/storage/team/b#x", 400),
        ("/storage/te am/b", 400),
        ("/storage/team/" + "/".join("x" * 33), 400),
    ],
)
def test_any_other_destination_is_refused(text: str, status: int) -> None:
    with pytest.raises((Problem, InvalidName)) as caught:
        destination(headers("Destination", text), HOSTS)
    found = caught.value.status if isinstance(caught.value, Problem) else 400
    assert found == status
    assert "example" not in str(caught.value)


@pytest.mark.parametrize("values", [(), ("/storage/a/b", "/storage/a/b")])
def test_there_is_one_destination(values: tuple[str, ...]) -> None:
    with pytest.raises(Problem, match="one field Destination"):
        destination(headers("Destination", *values), HOSTS)


def test_overwrite_is_t_or_f() -> None:
    assert overwrites(headers("Overwrite"))
    assert overwrites(headers("Overwrite", "T"))
    assert not overwrites(headers("Overwrite", "F"))
    for values in (("f",), ("true",), ("",), ("T", "F"), ("F", "F")):
        with pytest.raises(Problem) as caught:
            overwrites(headers("Overwrite", *values))
        assert caught.value.status == 400, values


def test_a_folder_is_changed_to_any_depth() -> None:
    refuse_depth(headers("Depth"))
    refuse_depth(headers("Depth", "Infinity"))
    for values in (("0",), ("1",), ("",), ("infinity", "infinity")):
        with pytest.raises(Problem) as caught:
            refuse_depth(headers("Depth", *values))
        assert caught.value.status == 400, values


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.0.0.1", ["a.example"], {"host", "a.example"}),
        ("10.0.0.1", ["a.example, b.example", " "], {"host", "a.example", "b.example"}),
        ("10.0.0.1", [], {"host"}),
        ("192.0.2.1", ["a.example"], {"host"}),
        (None, ["a.example"], {"host"}),
    ],
)
def test_a_trusted_proxy_says_which_host_was_asked_for(
    peer: str | None, forwarded: list[str], expected: set[str]
) -> None:
    proxies = Proxies([parse_network("10.0.0.0/8")])
    assert proxies.hosts(peer, ["host"], forwarded) == expected
    assert Proxies().hosts(peer, ["host"], forwarded) == {"host"}
