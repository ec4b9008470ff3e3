"""The end of a chunked body, by a table."""

from __future__ import annotations

import pytest

from sfs_server.http.trailers import ends_plainly, trailer_names


@pytest.mark.parametrize(
    ("tail", "plain", "names"),
    [
        (b"1\r\nx\r\n0\r\n\r\n", True, []),
        (b"1\r\nx\r\n000 ;a=b\r\n\r\n", True, []),
        (b"1\r\nx\r\n0\r\nA: b\r\n\r\n", False, ["A"]),
        (b"1\r\nx\r\n0;e\r\nA: b\r\nContent-Digest:\r\n\r\n", False, ["A", "Content-Digest"]),
        (b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", False, []),
        (b"1\r\nx\r\n0\r\n", False, []),
        (b"1\r\nx\r\n10\r\n\r\n", False, []),
        (b"1\r\nx\r\n0\r\nno field\r\n\r\n", False, []),
        (b"", False, []),
    ],
)
def test_the_end_of_a_chunked_body(tail: bytes, plain: bool, names: list[str]) -> None:
    assert ends_plainly(tail) is plain
    assert list(trailer_names(tail)) == names
