"""What a file's name says of it: Content-Disposition, Content-Type, and which types can act."""

from __future__ import annotations

import mimetypes
import re
from typing import Literal
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfs_server.http.disposition import UNKNOWN, active, content_disposition, content_type

FORM = re.compile(
    r'(?P<kind>inline|attachment); filename="(?P<quoted>(?:[ !#-\[\]-~]|\\["\\])*)"; '
    r"filename\*=UTF-8''(?P<encoded>(?:[A-Za-z0-9!#$&+\-.^_`|~]|%[0-9A-F]{2})*)"
)
"""RFC 6266 §4.1 with quoted-string of RFC 9110 §5.6.4 and attr-char of RFC 8187 §3.2.1, all of it
printable ASCII."""


@pytest.mark.parametrize(
    ("name", "fallback", "encoded"),
    [
        ("report.pdf", "report.pdf", "report.pdf"),
        ("two words.txt", "two words.txt", "two%20words.txt"),
        ("na\u00efve.txt", "na_ve.txt", "na%C3%AFve.txt"),
        ("\u20ac rates", "_ rates", "%E2%82%AC%20rates"),
        ("\u6587\u4ef6.txt", "__.txt", "%E6%96%87%E4%BB%B6.txt"),
        ("\U0001f600.png", "_.png", "%F0%9F%98%80.png"),
        ('say "hi".txt', r"say \"hi\".txt", "say%20%22hi%22.txt"),
        ("back\\slash", r"back\\slash", "back%5Cslash"),
        ("100%.txt", "100%.txt", "100%25.txt"),
        ("a%20b.txt", "a_20b.txt", "a%2520b.txt"),
        ("%e4%zz%%41%", "_e4%zz%_41%", "%25e4%25zz%25%2541%25"),
        ("%\u00e920", "%_20", "%25%C3%A920"),
        ("a'b*(c).txt", "a'b*(c).txt", "a%27b%2A%28c%29.txt"),
        ("a;b=c,d", "a;b=c,d", "a%3Bb%3Dc%2Cd"),
        ("a\r\nSet-Cookie: b=c", "a__Set-Cookie: b=c", "a%0D%0ASet-Cookie%3A%20b%3Dc"),
        ("a\x7fb\x85c", "a_b_c", "a%7Fb%C2%85c"),
        ("!#$&+-.^_`|~", "!#$&+-.^_`|~", "!#$&+-.^_`|~"),
        ("evil\u202egpj.exe", "evil_gpj.exe", "evil%E2%80%AEgpj.exe"),
    ],
)
@pytest.mark.parametrize("kind", ["inline", "attachment"])
def test_content_disposition(
    kind: Literal["inline", "attachment"], name: str, fallback: str, encoded: str
) -> None:
    expected = f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{encoded}"
    assert content_disposition(kind, name) == expected


@given(st.text(max_size=100))
def test_any_name_survives_and_nothing_escapes(name: str) -> None:
    match = FORM.fullmatch(content_disposition("attachment", name))
    assert match is not None
    assert unquote(match["encoded"], errors="strict") == name
    fallback = re.sub(r"\\(.)", r"\1", match["quoted"])
    assert re.search("%[0-9A-Fa-f]{2}", fallback) is None
    assert len(fallback) == len(name)
    assert all(
        seen == real or (seen == "_" and (real == "%" or not " " <= real <= "~"))
        for seen, real in zip(fallback, name, strict=True)
    )


def test_a_name_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        content_disposition("inline", "\udcff")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.TXT", "text/plain; charset=utf-8"),
        ("a.b.c.html", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.xml", "text/xml; charset=utf-8"),
        ("a.py", "text/x-python; charset=utf-8"),
        ("a.log", "text/plain; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.jsonl", "application/jsonl"),
        ("a.yaml", "application/yaml"),
        ("a.toml", "application/toml"),
        ("a.pdf", "application/pdf"),
        ("a.zip", "application/zip"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.wasm", "application/wasm"),
        ("a.svg", "image/svg+xml"),
        ("a.xhtml", "application/xhtml+xml"),
        ("a.png", "image/png"),
        ("a.avif", "image/avif"),
        ("a.mp4", "video/mp4"),
        ("a.webm", "video/webm"),
        ("a.mkv", "video/matroska"),
        ("a.mp3", "audio/mpeg"),
        ("a.flac", "audio/flac"),
        ("a.opus", "audio/opus"),
        ("a.woff2", "font/woff2"),
        # where Python 3.11 to 3.14 disagree
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.md", "text/markdown; charset=utf-8"),
        ("a.markdown", "text/markdown; charset=utf-8"),
        ("a.rst", "text/x-rst; charset=utf-8"),
        ("a.rtf", "application/rtf"),
        ("a.webp", "image/webp"),
        ("a.texi", "application/texinfo"),
        ("a.wav", "audio/wav"),
        ("a.avi", "video/x-msvideo"),
        # compressed: the type of the compression
        ("a.gz", "application/gzip"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.svgz", "application/gzip"),
        ("a.html.gz", "application/gzip"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.tbz2", "application/x-bzip2"),
        ("a.tar.xz", "application/x-xz"),
        ("a.txz", "application/x-xz"),
        ("a.html.br", "application/x-brotli"),
        ("a.tar.zst", "application/zstd"),
        ("a.tar.Z", "application/x-compress"),
        # nothing to go by
        ("README", UNKNOWN),
        ("a.", UNKNOWN),
        (".html", UNKNOWN),
        ("..html", UNKNOWN),
        ("a.html ", UNKNOWN),
        ("a.unheard-of", UNKNOWN),
        ("html", UNKNOWN),
        # names that a guess by URL would read differently
        ("data:text/html,x", UNKNOWN),
        ("a.txt?b.html", "text/html; charset=utf-8"),
        ("a.html#b", UNKNOWN),
        ("http:a.png", "image/png"),
    ],
)
def test_content_type(name: str, expected: str) -> None:
    assert content_type(name) == expected


def test_the_tables_of_the_machine_are_not_used() -> None:
    mimetypes.add_type("text/html", ".sfs-test")
    try:
        assert content_type("a.sfs-test") == UNKNOWN
    finally:
        del mimetypes.types_map[".sfs-test"]


@given(st.text(max_size=30))
def test_any_name_has_a_type_that_fits_a_header(name: str) -> None:
    assert re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; charset=utf-8)?", content_type(name)) is not None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", True),
        ("a.htm", True),
        ("a.xhtml", True),
        ("a.xht", True),
        ("a.svg", True),
        ("a.xml", True),
        ("a.xsl", True),
        ("a.xslt", True),
        ("a.xsd", True),
        ("a.rdf", True),
        ("a.rss", True),
        ("a.atom", True),
        ("a.mathml", True),
        ("a.svgz", False),
        ("a.html.gz", False),
        ("a.txt", False),
        ("a.js", False),
        ("a.json", False),
        ("a.pdf", False),
        ("a.png", False),
        ("a", False),
    ],
)
def test_active_names(name: str, expected: bool) -> None:
    assert active(content_type(name)) is expected


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("TEXT/HTML", True),
        ("text/html;charset=utf-8", True),
        (" text/html ; charset=utf-8", True),
        ("application/anything+xml", True),
        ("text/plain; note=text/html", False),
        ("application/xml-dtd", False),
        ("", False),
    ],
)
def test_active_types(media_type: str, expected: bool) -> None:
    assert active(media_type) is expected
