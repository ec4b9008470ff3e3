"""How entries are written: as members of an array, and as lines of a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin

import pytest

from gfs.types import Entry, FileInfo, FolderInfo
from sfs_server.http import content_type, etag_of, quote_path
from sfs_server.listing import IndexPage, JsonArray, Query

NAMES = [
    *("a", "a b", "a.txt", ".profile", "..html", "a..html", "a.b.TXT", "x.", "a.unknown", "..."),
    *('"', "'", "<&>", "{x}", "%22", "é.JPG", "\u2028", "\u202egpj.exe", "\U0001f600", "\ufeff"),
    *("a:b", "http:", "~", "a?b", "a#b", "a&b=c", "+", "javascript:alert(1)", "<b><script>"),
]
FILES = [
    FileInfo("ns", name, number, f"{number:x}-z", 10**18 + number, 10**18 - number)
    for number, name in enumerate(NAMES)
]


def below(folder: str) -> list[Entry]:
    """The files, and as many folders, in ``folder``."""
    above = f"{folder}/" if folder else ""
    files = [FileInfo("ns", f"{above}{f.path}", f.size, "v", f.created_ns, 5) for f in FILES]
    return [*files, *(FolderInfo("ns", f"{above}{f.path}", f.modified_ns) for f in FILES)]


@pytest.mark.parametrize("folder", [None, "", "d", "d.d/é &"])
def test_a_member_is_what_python_would_write(folder: str | None) -> None:
    entries = [entry for entry in below(folder or "") if folder is not None or entry in FILES]
    expected = []
    for entry in entries:
        path = f"/storage/ns/{quote(entry.path)}"
        name = entry.path if folder is None else entry.name
        common = {"name": name, "path": path, "namespace": "ns"}
        if isinstance(entry, FolderInfo):
            common["path"] += "/"
            modified = entry.modified_ns // 10**9
            expected.append({"type": "folder", **common, "modified_at": modified})
            continue
        times = {
            "created_at": entry.created_ns // 10**9,
            "modified_at": entry.modified_ns // 10**9,
        }
        types = {"content_type": content_type(entry.name), "etag": etag_of(entry)}
        expected.append({"type": "file", **common, "size": entry.size, **times, **types})
    lines = [json.dumps(member, ensure_ascii=False) for member in expected]
    assert JsonArray("ns", Query(folder)).encode(entries).decode() == ",\n".join(lines)


class Links(HTMLParser):
    """What a program finds in a page: its links with their texts, and the tags that there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "a":
            [(name, value)] = attrs
            assert name == "href"
            self.found.append([value or "", ""])

    def handle_data(self, data: str) -> None:
        if self.found and not self.found[-1][1].endswith(data):
            self.found[-1][1] += data


@pytest.mark.parametrize("token", ["", "a.b-c_d"])
@pytest.mark.parametrize("folder", ["", "d", "d/é"])
def test_the_links_of_a_page_lead_to_its_entries(folder: str, token: str) -> None:
    entries = below(folder)
    form = IndexPage("ns", Query(folder), parent=bool(folder), token=token)
    links = Links((form.head + form.encode(entries) + form.tail).decode())
    query = f"?token={token}" if token else ""
    base = f"http://h/storage/ns/{quote(folder)}{'/' if folder else ''}"
    hrefs = [href for href, _ in links.found]
    if folder:
        assert hrefs.pop(0) == f"../{query}"
    assert len(hrefs) == len(entries)
    for href, entry in zip(hrefs, entries, strict=True):
        slash = "/" if isinstance(entry, FolderInfo) else ""
        assert not href.startswith("http"), "fsspec would leave it out"
        leads_to = urljoin(base, href).replace("/%68ttp", "/http")
        assert leads_to == f"http://h/storage/ns/{quote(entry.path)}{slash}{query}"
        assert unquote(href.removesuffix(query)) == f"{entry.name}{slash}"
    assert links.tags == set("html head meta title style body h1 bdi table tr td a".split())


def test_each_name_of_a_page_is_kept_apart_from_the_text_around_it() -> None:
    text = IndexPage("ns", Query(""), parent=False, token="").encode(FILES).decode()
    lines = text.split("\n")
    assert len(lines) == len(FILES)
    assert all(line.count("<bdi>") == line.count("</bdi>") == 1 for line in lines)
    assert "<script" not in text


@pytest.mark.parametrize("text", [*NAMES, "a/b", "/", "", "a/é/%", "".join(map(chr, range(256)))])
def test_a_path_is_encoded_as_python_does_it(text: str) -> None:
    assert quote_path(text) == quote(text)
