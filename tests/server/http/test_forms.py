"""The file inside a form, whatever it holds and however the body is cut into pieces."""

from __future__ import annotations

from itertools import count, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sfs_server.errors import Problem
from sfs_server.http import forms as form
from sfs_server.http.forms import FormFile

BOUNDARY = "-frontier-"
DELIMITER = f"\r\n--{BOUNDARY}".encode()


def part(name: str, content: bytes, *more: str, delimiter: bytes = DELIMITER) -> bytes:
    """One part, with the delimiter before it; ``more`` are whole header lines."""
    lines = (f'Content-Disposition: form-data; name="{name}"', *more)
    head = "".join(f"{line}\r\n" for line in lines).encode()
    return delimiter + b"\r\n" + head + b"\r\n" + content


def whole(*parts: bytes, delimiter: bytes = DELIMITER) -> bytes:
    """A body without preamble and epilogue."""
    return (b"".join(parts) + delimiter + b"--\r\n").removeprefix(b"\r\n")


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body cut at the given places; no piece is empty."""
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    return [body[start:end] for start, end in pairwise(places)]


def take(parts: list[bytes], boundary: str = BOUNDARY) -> bytes:
    """The file that a body in these pieces has. Raises what FormFile raises."""
    taker = FormFile(f"multipart/form-data; boundary={boundary}")
    file = b"".join(event for piece in parts for event in taker.feed(piece))
    taker.finish()
    return file


def refused(parts: list[bytes]) -> int:
    """The status with which a body is refused."""
    with pytest.raises(Problem) as caught:
        take(parts)
    return caught.value.status


CONTENTS = (
    b"",
    b"plain",
    b"\r\n",
    b"\r\n--",
    b"\r\r\n\r\n-\r\n--\r\n--" + BOUNDARY[:-1].encode(),
    DELIMITER[:-1] + b"\r" + DELIMITER[:-1],
    BOUNDARY.encode() + b"--" + BOUNDARY.encode() + b"\r\n",
    b"--" + BOUNDARY[:-1].encode() + b"--\r\n",
    bytes(range(256)),
)

# Bytes of which every prefix of a delimiter and its neighbours can be put together.
NASTY = st.lists(
    st.one_of(
        st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n-", b"\r\n--", b"\0"]),
        st.integers(1, len(DELIMITER) - 1).map(lambda length: DELIMITER[:length]),
        st.integers(1, len(DELIMITER) - 1).map(lambda start: DELIMITER[start:]),
        st.binary(max_size=20),
    ),
    max_size=12,
).map(b"".join)


@given(
    content=NASTY,
    before=st.lists(NASTY, max_size=2),
    after=st.lists(NASTY, max_size=2),
    epilogue=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 600), max_size=30),
)
def test_any_file_in_any_pieces_comes_out_to_the_byte(
    content: bytes, before: list[bytes], after: list[bytes], epilogue: bytes, cuts: list[int]
) -> None:
    assume(all(DELIMITER not in one for one in (content, *before, *after)))
    fields = [part("other", one) for one in before]
    rest = [part("other", one) for one in after]
    body = whole(*fields, part("file", content), *rest) + epilogue
    assert take(pieces(body, cuts)) == content


@given(
    boundary=st.text("abcXYZ0189'()+_,-./:=? ", min_size=1, max_size=70),
    content=st.text("ab-\r\n:", max_size=40).map(str.encode),
)
def test_any_boundary_of_rfc_2046_works_when_quoted(boundary: str, content: bytes) -> None:
    assume(not boundary.endswith(" "))
    delimiter = b"\r\n--" + boundary.encode()
    assume(delimiter not in content)
    body = whole(part("file", content, delimiter=delimiter), delimiter=delimiter)
    assert take([body], f'"{boundary}"') == content


@pytest.mark.parametrize("content", CONTENTS)
def test_every_single_cut_and_every_byte_on_its_own(content: bytes) -> None:
    body = whole(part("a", b"-\r\n"), part("file", content), part("b", b"\r\n--")) + b"\r\nend"
    for cut in range(len(body)):
        assert take(pieces(body, [cut])) == content, cut
    for first in count(1):
        if first > 8:
            break
        assert take(pieces(body, list(range(0, len(body), first)))) == content, first


def test_the_file_is_yielded_while_it_streams() -> None:
    taker = FormFile(f"multipart/form-data; boundary={BOUNDARY}")
    assert list(taker.feed(part("file", b"one ").removeprefix(b"\r\n"))) == [b"one "]
    assert list(taker.feed(b"two\r")) == [b"two"]
    assert b"".join(taker.feed(b"\n-three")) == b"\r\n-three"


def test_the_first_part_named_file_wins() -> None:
    body = whole(part("filed", b"0"), part("file", b"1"), part("file", b"2"), part("File", b"3"))
    assert take([body]) == b"1"


@pytest.mark.parametrize(
    "line",
    [
        'Content-Disposition: form-data; name="file"; filename="../../etc/passwd"',
        'Content-Disposition: form-data; filename="a;name=x.bin"; name="file"',
        'Content-Disposition: form-data; name=file; filename=""',
        'content-disposition: form-data; name="file"; filename="\u00e4\\"b"',
        "Content-Disposition: form-data; filename*=UTF-8''%C3%A4; name=\"file\"",
    ],
)
def test_the_file_name_of_the_part_is_ignored(line: str) -> None:
    head = f"{line}\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n".encode()
    assert take([whole(DELIMITER + b"\r\n" + head + b"x")]) == b"x"


@pytest.mark.parametrize("preamble", [b"\r\n", b"This is a form.\r\n", b"a\r\n--b\r\n\r\n"])
def test_a_preamble_is_dropped_however_it_is_cut(preamble: bytes) -> None:
    body = preamble + whole(part("file", b"x"))
    for cut in range(len(body)):
        assert take(pieces(body, [cut])) == b"x", cut


def test_every_body_that_is_cut_short_is_refused() -> None:
    body = whole(part("a", b"1"), part("file", b"content"), part("b", b"2"))
    end = len(body) - len(b"\r\n")  # what follows the closing delimiter is epilogue
    for length in range(end):
        assert refused(pieces(body[:length], [])) == 400, length
        assert refused(pieces(body[:length], list(range(length)))) == 400, length
    assert take([body[:end]]) == b"content"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        whole(),
        whole(part("files", b"x")),
        whole(part("", b"x")),
        whole(DELIMITER + b"\r\nContent-Type: text/plain\r\n\r\nx"),
        whole(DELIMITER + b"\r\nContent-Disposition: attachment; name=file\r\n\r\nx"),
        whole(DELIMITER + b"\r\nno colon\r\n\r\nx"),
        whole(DELIMITER + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx'),
        whole(DELIMITER + b"\r\n folded\r\n\r\nx"),
        whole(DELIMITER + b"garbage\r\n\r\nx"),
        whole(part("file", b"x")).replace(b"\r\n", b"\n"),
        whole(part("file", b"x", "Content-Length: 2")),
        whole(part("file", b"xyz", "Content-Length: 2")),
        whole(part("file", b"x", "Content-Length: -1")),
    ],
)
def test_what_is_no_form_with_a_file_is_refused(body: bytes) -> None:
    assert refused([body] if body else []) == 400
    assert refused(pieces(body, list(range(len(body))))) == 400


def test_an_empty_file_is_a_file() -> None:
    assert take([whole(part("file", b""))]) == b""


@pytest.mark.parametrize("start", [b"", b"x", whole(part("file", b"x"))])
def test_what_is_besides_the_file_is_bounded(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_OTHER_BYTES", 100_000)
    endless = [b"a line\r\n" * 1000] * 100  # preamble, or epilogue
    assert refused([start, *endless] if start else endless) == 413


def test_another_field_may_not_be_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_OTHER_BYTES", 100_000)
    head = part("other", b"").removeprefix(b"\r\n")
    assert refused([head, *[b"x" * 10_000] * 100]) == 413
    second = whole(part("file", b"x")).removesuffix(b"--\r\n") + part("file", b"")[len(DELIMITER) :]
    assert refused([second, *[b"x" * 10_000] * 100]) == 413


def test_the_file_itself_has_no_bound_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_OTHER_BYTES", 1000)
    head, tail = part("file", b"").removeprefix(b"\r\n"), DELIMITER + b"--"
    file = [b"\r\n--" + bytes(10_000)] * 100
    assert take([head, *file, tail]) == b"".join(file)


@pytest.mark.parametrize(
    "body",
    [
        whole(*[part("other", b"")] * 100, part("file", b"x")),
        whole(part("file", b"x", "X-Long: " + "y" * 5000)),
        DELIMITER[2:] + b"\r\nX-Endless: " + b"y" * 100_000,
        DELIMITER[2:] + b"\r\nX-Folded: y" + b"\r\n yyyyyyyyy" * 1000,
        whole(part("file", b"x", *[f"X-{number}: y" for number in range(50)])),
    ],
)
def test_parts_and_their_headers_are_bounded(body: bytes) -> None:
    assert refused([body]) == 413
    assert refused(pieces(body, list(range(0, len(body), 50)))) == 413


def test_as_many_parts_as_are_allowed_are_read() -> None:
    fields = [part("other", b"")] * (form.MAX_PARTS - 1)
    assert take([whole(*fields, part("file", b"x"))]) == b"x"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="',
        "multipart/form-data; boundary=\u00e4",
        'multipart/form-data; boundary="\u00e4"',
        'multipart/form-data; boundary="a\nb"',
        'multipart/form-data; boundary="a\rb"',
        "multipart/form-data; boundary=" + "b" * 71,
        'multipart/form-data; boundary="' + "b" * 5000 + '"',
        'multipart/form-data; boundary="\udcff"',
    ],
)
def test_an_unusable_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(Problem) as caught:
        FormFile(content_type)
    assert caught.value.status == 400


def test_the_longest_boundary_is_taken() -> None:
    boundary = "b" * 70
    delimiter = f"\r\n--{boundary}".encode()
    body = whole(part("file", b"x", delimiter=delimiter), delimiter=delimiter)
    assert take(pieces(body, list(range(len(body)))), boundary) == b"x"


@pytest.mark.parametrize(
    "name", ["caf\u00e9.txt".encode("latin-1"), "\u8868.txt".encode("shift_jis"), b"\xff\xfe"]
)
def test_the_file_name_of_the_part_may_be_in_any_coding(name: bytes) -> None:
    body = whole(part("file", b"x")).replace(b'"file"', b'"file"; filename="%b"' % name)
    assert take([body]) == b"x"


@pytest.mark.parametrize(
    "boundary", ["----=_Part_1", "a:=?/()'+_,-.b", "=", "two words", "a;b", 'a"b', "a\\b"]
)
def test_a_boundary_that_should_be_quoted_and_is_not_goes_up_to_a_semicolon(boundary: str) -> None:
    delimiter = f"\r\n--{boundary.partition(';')[0]}".encode()
    body = whole(part("file", b"x", delimiter=delimiter), delimiter=delimiter)
    for written in (f"; boundary={boundary}", f';a="; boundary=b";BOUNDARY = {boundary} ; c=d'):
        taker = FormFile(f"multipart/form-data{written}")
        assert b"".join(taker.feed(body)) == b"x"
        taker.finish()


def test_a_part_without_a_name_and_without_bytes_is_no_file() -> None:
    """That is what a form sends when no file was chosen."""
    unchosen = part("file", b"").replace(b'"file"', b'"file"; filename=""')
    for body in (whole(unchosen), whole(part("a", b"b"), unchosen, part("c", b"d"))):
        for cuts in ([], list(range(len(body)))):
            with pytest.raises(Problem, match="No file was chosen"):
                take(pieces(body, cuts))
    # Of two inputs of one name the one with a file counts; a file may have no name.
    for chosen in (part("file", b"x"), unchosen + b"x"):
        body = whole(unchosen, chosen, unchosen)
        for cuts in ([], list(range(len(body)))):
            assert take(pieces(body, cuts)) == b"x"


@pytest.mark.parametrize("padding", [b" ", b"\t", b" \t  "])
def test_padding_behind_a_delimiter_is_dropped(padding: bytes) -> None:
    parts = (part("a", b"1"), part("file", b"x \r\n"), part("b", b"2"))
    body = whole(*parts).replace(DELIMITER[2:] + b"\r\n", DELIMITER[2:] + padding + b"\r\n")
    body = body.replace(DELIMITER + b"--\r\n", DELIMITER + b"--" + padding + b"\r\n")
    assert body.count(padding + b"\r\n") == 4 + (padding == b" ")
    for cut in range(len(body)):
        assert take(pieces(body, [cut])) == b"x \r\n", cut
    assert refused([body.replace(padding + b"\r\n", padding + b"x\r\n", 1)]) == 400
