"""What is a request, by tables."""

from __future__ import annotations

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy

from sfs_server.errors import Problem
from sfs_server.http.wellformed import check_form, is_host

HOST = ("Host", "a")


def check(
    *fields: tuple[str, str], target: str = "/a", version: HttpVersion = HttpVersion11
) -> None:
    check_form(target, version, CIMultiDictProxy(CIMultiDict(fields)))


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a:80", "a:", "a:65535", "xn--bcher-kva.example", "192.0.2.1:80", "a_b", " a "),
        *("[::1]", "[::1]:8080", "[2001:db8::ffff:192.0.2.1]", "%41", "a" * 255),
    ],
)
def test_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":80", "a b", "a,b", "a/b", "user@a", "a?b", "a#b", "a\\b", "é", "a\0", "a:x"),
        *("a:80:80", "a:65536", "a:999999", "a:-1", "::1", "[]", "[::", "[:::::::]", "[::1]x"),
        *("[1.2.3.4]", "[12345::]", "a" * 256),
    ],
)
def test_no_host(text: str) -> None:
    assert not is_host(text)


def test_what_may_mean_two_things_is_refused_and_the_connection_closed() -> None:
    for fields in (
        (),
        (HOST, HOST),
        (HOST, ("Host", "b")),
        (("Host", "a, b"),),
        (HOST, ("Transfer-Encoding", "")),
        (HOST, ("Transfer-Encoding", "gzip, chunked")),
        (HOST, ("Transfer-Encoding", "chunked, chunked")),
        (HOST, ("Transfer-Encoding", "identity")),
    ):
        with pytest.raises(Problem) as caught:
            check(*fields)
        assert (caught.value.status, caught.value.headers) == (400, {"Connection": "close"})
    with pytest.raises(Problem) as caught:
        check(HOST, target="/a#b")
    assert (caught.value.status, caught.value.headers) == (400, {"Connection": "close"})
    with pytest.raises(Problem) as caught:
        check(HOST, target="http://user:password@a/b")
    assert (caught.value.status, caught.value.headers) == (400, {"Connection": "close"})
    with pytest.raises(Problem) as caught:
        check(HOST, ("Transfer-Encoding", "chunked"), version=HttpVersion10)
    assert (caught.value.status, caught.value.headers) == (400, {"Connection": "close"})
    for version in (HttpVersion(0, 9), HttpVersion(2, 0)):
        with pytest.raises(Problem) as caught:
            check(HOST, version=version)
        assert (caught.value.status, caught.value.headers) == (400, {"Connection": "close"})


def test_another_expectation_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        check(HOST, ("Expect", "miracles"))
    assert caught.value.status == 417


def test_a_request() -> None:
    check(HOST)
    check(version=HttpVersion10)
    check(HOST, target="http://a/b@c")
    check(HOST, target="*")
    check(HOST, ("Expect", "100-Continue"), ("Transfer-Encoding", "Chunked "), target="/a%23b?c")
    with pytest.raises(Problem):
        check(("Host", ""), version=HttpVersion10)
