"""The listing of a namespace: what it shows, in which order, page by page, and what it hides."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

import pytest

from gfs.api import FileSystem
from gfs.errors import StoreUnavailable
from gfs.types import FileInfo
from sfs_server.web.keys import FILESYSTEM
from tests.support.client import Answer, Connection, call, connect
from tests.support.service import Service


def directory(service: Service) -> Path:
    return service.data / "files" / "default"


def plant(service: Service, *names: str) -> None:
    """Put files there without the service, which is quicker; a name with a slash at its end is a
    folder."""
    for name in names:
        path = directory(service) / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [entry["name"] for entry in answer.json()]


async def pages(connection: Connection, target: str, headers: dict[str, str]) -> list[list[str]]:
    """The names of each page from ``target`` on, by following the links."""
    found: list[list[str]] = []
    while True:
        answer = await connection.ask("GET", target, headers)
        found.append(names(answer))
        link = answer.headers.get("Link")
        if link is None:
            return found
        match = re.fullmatch(r'<([!-~]+)>; rel="next"', link)
        assert match is not None, link
        target = match[1]


async def test_each_entry_says_what_the_download_will_say(service: Service) -> None:
    started = int(time.time())
    await service.put("/storage/default/b%20%C3%A9.txt", b"12345")
    await service.put("/storage/default/a", b"")
    await service.put("/storage/default/a", b"1")
    async with connect(service.port) as connection:
        answer = await connection.ask("GET", "/storage/files")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        first, second = answer.json()
        for entry in (first, second):
            served = await connection.ask("HEAD", entry["path"])
            assert served.status == 200
            assert entry["etag"] == served.headers["ETag"]
            assert entry["content_type"] == served.headers["Content-Type"]
            assert entry["size"] == int(served.headers["Content-Length"])
            assert type(entry["created_at"]) is type(entry["modified_at"]) is int
            assert started <= entry["created_at"] <= entry["modified_at"] <= time.time()
    for entry, name, path, size, kind in (
        (first, "a", "/storage/default/a", 1, "application/octet-stream"),
        (second, "b é.txt", "/storage/default/b%20%C3%A9.txt", 5, "text/plain; charset=utf-8"),
    ):
        assert list(entry) == [
            *("type", "name", "path", "namespace", "size"),
            *("created_at", "modified_at", "content_type", "etag"),
        ]
        assert (entry["name"], entry["path"], entry["namespace"]) == (name, path, "default")
        assert (entry["size"], entry["content_type"]) == (size, kind)


async def test_an_entry_is_the_json_that_python_would_write(service: Service) -> None:
    stored = ['"', "'", "<&>", "{x}", "é", "a\u2028b", "\U0001f600", "a b", "%22", "x"]
    stored += ["\xad\u200b.html", "\ufeff", "null", "1", 'a",\u2029"b.txt', "\ue000\U0010ffff"]
    plant(service, *stored)
    async with connect(service.port) as connection:
        for target in ("/storage/files", "/storage/files?limit=100"):
            answer = await connection.ask("GET", target)
            assert names(answer) == sorted(stored, key=str.encode)
            lines = [json.dumps(entry, ensure_ascii=False) for entry in answer.json()]
            assert answer.body.decode() == "[" + ",\n".join(lines) + "]\n"


async def test_an_overwrite_keeps_the_time_of_creation(service: Service) -> None:
    await service.put("/storage/default/a", b"1")
    past = 1_600_000_000
    os.utime(directory(service) / "a", (past, past))
    await service.put("/storage/default/a", b"2")
    [entry] = (await call(service.port, "GET", "/storage/files")).json()
    assert entry["created_at"] == past
    assert entry["modified_at"] > past


async def test_names_are_sorted_by_their_bytes_and_filtered_by_prefix(service: Service) -> None:
    stored = ["Z", "a", "a b", "a%", "a-b", "aa", "b", "é", "\uffee", "😀", "ab"]
    plant(service, *stored)
    ordered = sorted(stored, key=str.encode)
    async with connect(service.port) as connection:
        assert names(await connection.ask("GET", "/storage/files")) == ordered
        assert names(await connection.ask("GET", "/storage/files?namespace=default")) == ordered
        for prefix in ("a", "a ", "a%", "é", "😀", "", "nothing", "aaa", "A"):
            answer = await connection.ask("GET", f"/storage/files?prefix={quote(prefix)}")
            assert names(answer) == [name for name in ordered if name.startswith(prefix)]
        for after in ("", "a", "a b", "aab", "é", "😀", "\U0010ffff"):
            answer = await connection.ask("GET", f"/storage/files?after={quote(after)}")
            expected = [name for name in ordered if name.encode() > after.encode()]
            assert names(answer) == expected
        answer = await connection.ask("GET", "/storage/files?prefix=a&after=a%25&limit=1")
        assert names(answer) == ["a-b"]


async def test_pages_are_linked_and_together_are_the_whole(service: Service) -> None:
    stored = ["a b", "a&b=c", "a+b", "a#b", "a%20b", 'a"b', "a<b>", "a;b", "aé", "a😀", "b"]
    plant(service, *stored)
    ordered = sorted(stored, key=str.encode)
    async with connect(service.port) as connection:
        for headers, query in (
            ({}, ""),
            (service.bearer(), "&namespace=default"),
            ({}, "&prefix=a"),
            ({}, "&prefix=a%26"),
        ):
            wanted = ordered
            if "prefix" in query:
                wanted = [
                    name for name in ordered if name.startswith("a&" if "%26" in query else "a")
                ]
            for limit in (1, 3, len(wanted), 10_000):
                target = f"/storage/files?limit={limit}{query}"
                found = await pages(connection, target, headers)
                assert [name for page in found for name in page] == wanted
                assert all(len(page) == limit for page in found[:-1])
                assert found[-1] or not wanted
        empty = await connection.ask("GET", "/storage/files?limit=5&after=zzz")
        assert names(empty) == []
        assert "Link" not in empty.headers


async def test_a_link_never_shows_the_token(service: Service) -> None:
    plant(service, "a", "b")
    answer = await call(service.port, "GET", f"/storage/files?token={service.token()}&limit=1")
    assert answer.headers["Link"] == '</storage/files?limit=1&after=a>; rel="next"'


TREE = ["a/b/c", "a/b.txt", "a/b-", "a-", "a.txt", "b", "é/ü/x", "é/Ü.txt", "empty/", "a/e/"]


async def test_without_a_folder_the_files_at_all_depths_are_listed(service: Service) -> None:
    plant(service, *TREE)
    async with connect(service.port) as connection:
        whole = await connection.ask("GET", "/storage/files")
        files = sorted((name for name in TREE if name[-1] != "/"), key=str.encode)
        assert names(whole) == files
        for entry in whole.json():
            assert entry["path"] == f"/storage/default/{quote(entry['name'])}"
        for query, expected in (
            ("prefix=a/", ["a/b-", "a/b.txt", "a/b/c"]),
            ("prefix=a/b/", ["a/b/c"]),
            ("after=a/b.txt", ["a/b/c", "b", "é/Ü.txt", "é/ü/x"]),
            ("type=file&limit=2", ["a-", "a.txt"]),
        ):
            assert names(await connection.ask("GET", f"/storage/files?{query}")) == expected
        assert await pages(connection, "/storage/files?limit=2", {}) == [
            files[at : at + 2] for at in range(0, len(files), 2)
        ]


async def test_one_level_of_a_folder_is_listed_with_its_folders(service: Service) -> None:
    plant(service, *TREE)
    async with connect(service.port) as connection:
        for folder, files, folders in (
            ("", ["a-", "a.txt", "b"], ["a", "empty", "é"]),
            ("a", ["b-", "b.txt"], ["b", "e"]),
            ("a/", ["b-", "b.txt"], ["b", "e"]),
            ("a/b", ["c"], []),
            ("%C3%A9", ["Ü.txt"], ["ü"]),
            ("empty", [], []),
        ):
            target = f"/storage/files?folder={folder}"
            ordered = sorted([*files, *folders], key=str.encode)
            answer = await connection.ask("GET", target)
            assert names(answer) == ordered
            assert "Transfer-Encoding" in answer.headers
            for kind, expected in (("file", files), ("folder", folders)):
                entries = (await connection.ask("GET", f"{target}&type={kind}")).json()
                assert [entry["name"] for entry in entries] == sorted(expected, key=str.encode)
                assert {entry["type"] for entry in entries} <= {kind}
                found = await pages(connection, f"{target}&type={kind}&limit=1", {})
                assert [name for page in found for name in page] == [e["name"] for e in entries]
            found = await pages(connection, f"{target}&limit=1", {})
            assert [name for page in found for name in page] == ordered
        [entry] = (await connection.ask("GET", "/storage/files?folder=a&prefix=b.")).json()
        served = await connection.ask("HEAD", entry["path"])
        assert (served.status, served.headers["ETag"]) == (200, entry["etag"])


async def test_a_folder_says_where_its_index_is(service: Service) -> None:
    started = int(time.time()) - 1
    plant(service, "d/e é/f")
    [entry] = (await call(service.port, "GET", "/storage/files?folder=d")).json()
    assert list(entry) == ["type", "name", "path", "namespace", "modified_at"]
    assert started <= entry.pop("modified_at") <= time.time()
    assert entry == {
        "type": "folder",
        "name": "e é",
        "path": "/storage/default/d/e%20%C3%A9/",
        "namespace": "default",
    }


async def test_text_is_found_in_the_names_that_a_list_shows(service: Service) -> None:
    plant(service, *TREE)
    async with connect(service.port) as connection:
        for query, expected in (
            ("contains=B", ["a/b-", "a/b.txt", "a/b/c", "b"]),
            ("contains=%C3%9C", ["é/Ü.txt", "é/ü/x"]),
            ("contains=u%CC%88", ["é/Ü.txt", "é/ü/x"]),
            ("contains=/b/", ["a/b/c"]),
            ("contains=txt&prefix=a", ["a.txt", "a/b.txt"]),
            ("contains=b&limit=1&after=a/b-", ["a/b.txt"]),
            ("contains=nothing", []),
            ("contains=nothing&limit=5", []),
            ("folder=&contains=a", ["a", "a-", "a.txt"]),
            ("folder=&contains=A&type=folder", ["a"]),
            ("folder=a&contains=a", []),
            ("folder=a&contains=T", ["b.txt"]),
            ("folder=&contains=E", ["empty"]),
        ):
            assert names(await connection.ask("GET", f"/storage/files?{query}")) == expected
        answer = await connection.ask("GET", "/storage/files?folder=a&contains=B&limit=2&type=file")
        assert names(answer) == ["b-", "b.txt"]
        assert "Link" not in answer.headers
        answer = await connection.ask("GET", "/storage/files?folder=a&contains=B&limit=1&type=file")
        link = '</storage/files?folder=a&contains=B&limit=1&type=file&after=b->; rel="next"'
        assert answer.headers["Link"] == link


async def test_a_folder_that_is_not_there_is_not_empty(service: Service) -> None:
    plant(service, "a", "d/e")
    async with connect(service.port) as connection:
        for folder in ("x", "d/x", "a", "a/b", "d/e", "d/e/f", "A"):
            for more in ("", "&limit=5", "&contains=x"):
                answer = await connection.ask("GET", f"/storage/files?folder={folder}{more}")
                assert answer.status == 404, folder
                assert answer.problem()
        for folder in ("/", "/d", "d//e", "..", "d/..", "%20d", "d%00", "d%5Ce", "x" * 256):
            answer = await connection.ask("GET", f"/storage/files?folder={folder}")
            assert answer.status == 400, folder
            assert answer.problem()
        deep = "/".join(["x"] * 33)
        assert (await connection.ask("GET", f"/storage/files?folder={deep}")).status == 400


async def test_a_part_that_cannot_be_told_from_the_rest_is_refused(service: Service) -> None:
    """A client that asks for a part and gets everything may go on to delete everything."""
    plant(service, "a", "d/e")
    async with connect(service.port) as connection:
        for query in ("type=folder", "type=", "type=x", "folder=&type=files", "folder=&type="):
            refused = await connection.ask("GET", f"/storage/files?{query}")
            assert (refused.status, "type" in refused.problem()) == (400, True), query


async def test_a_limit_that_cannot_be_is_refused(service: Service) -> None:
    plant(service, "a")
    limits = ["0", "10001", "x", "-1", "+1", "", "1.0", "1e3", "%201", "0x10"]
    limits += ["99999999999999999999", "9" * 5000, "%D9%A1", "%C2%B2", "1%00", "null"]
    async with connect(service.port) as connection:
        for limit in limits:
            answer = await connection.ask("GET", f"/storage/files?limit={limit}")
            assert answer.status == 400, limit
            assert "limit" in answer.problem()
        for limit in ("1", "10000", "01"):
            assert names(await connection.ask("GET", f"/storage/files?limit={limit}")) == ["a"]


async def test_odd_queries_are_answered_and_never_fail(service: Service) -> None:
    plant(service, "a")
    async with connect(service.port) as connection:
        for query in (
            "prefix=%ff",
            "after=%ff",
            "prefix=%ff&limit=1",
            "prefix=%00",
            "after=%00",
            "prefix=%zz",
            "prefix=..%2F",
            "after=..%2F..%2Fetc",
            "prefix=" + "x" * 3000,
            "&&&",
            "unknown=1",
            "a=1;b=2",
        ):
            answer = await connection.ask("GET", f"/storage/files?{query}")
            assert answer.status in (200, 400), query
        for query in ("namespace=", "namespace=%2E%2E", "namespace=a%2Fb", "namespace=%00"):
            answer = await connection.ask("GET", f"/storage/files?{query}")
            assert answer.status == 400, query
            assert answer.problem()


async def test_an_empty_namespace_is_an_empty_array(service: Service) -> None:
    async with connect(service.port) as connection:
        for target in ("/storage/files", "/storage/files?limit=5"):
            answer = await connection.ask("GET", target)
            assert (answer.status, answer.json()) == (200, [])
            assert "Link" not in answer.headers
        missing = await connection.ask("GET", "/storage/files?namespace=none", service.bearer())
        assert missing.status == 404
        assert missing.problem()


@pytest.mark.parametrize("directory_cache", ["warm", "cold"])
async def test_what_is_no_file_of_the_service_is_neither_listed_nor_served(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory_cache: str
) -> None:
    if directory_cache == "cold":
        monkeypatch.setattr("gfs.embedded.filesystem.open_cached", lambda *_: None)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "inner").write_text("secret")
    here = directory(service)
    plant(service, "file")
    (here / "link").symlink_to(secret)
    (here / "relative link").symlink_to("file")
    (here / "dangling link").symlink_to(tmp_path / "nowhere")
    (here / "directory link").symlink_to(tmp_path / "outside")
    os.mkfifo(here / "fifo")
    (here / " leading").write_text("secret")
    (here / "trailing ").write_text("secret")
    (here / "line\nbreak").write_text("secret")
    (here / "back\\slash").write_text("secret")
    Path(os.fsdecode(os.fsencode(here) + b"/not utf-8 \xff")).write_text("secret")
    unreadable = here / "unreadable"
    unreadable.write_text("secret")
    unreadable.chmod(0)
    expected = ["file", "unreadable"] if os.geteuid() == 0 else ["file"]
    async with connect(service.port) as connection:
        assert names(await connection.ask("GET", "/storage/files")) == expected
        assert names(await connection.ask("GET", "/storage/files?limit=10")) == expected
        assert names(await connection.ask("GET", "/storage/files?folder=")) == expected
        linked = await connection.ask("GET", "/storage/files?folder=directory%20link")
        assert linked.status == 404
        for entry in os.listdir(os.fsencode(here)):
            if os.fsdecode(entry) in expected:
                continue
            target = quote(entry, safe="")
            for method, path in (
                ("GET", f"/storage/default/{target}"),
                ("HEAD", f"/storage/default/{target}"),
                ("GET", f"/storage/download/default/{target}"),
                ("GET", f"/storage/default/{target}%2Finner"),
            ):
                answer = await connection.ask(method, path)
                assert answer.status in (400, 404), (method, path)
                assert b"secret" not in answer.body


@pytest.mark.both_loops
async def test_thousands_of_files_are_streamed(service: Service) -> None:
    stored = [f"file {number:05} é" for number in range(3000)]
    plant(service, stored[0])
    for name in stored[1:]:
        os.link(directory(service) / stored[0], directory(service) / name)
    async with connect(service.port) as connection:
        answer = await connection.ask("GET", "/storage/files")
        assert answer.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in answer.headers
        assert names(answer) == stored
        assert answer.headers["Cache-Control"] == "private, no-cache"
        # The connection goes on, and a page has a length.
        page = await connection.ask("GET", "/storage/files?limit=1000")
        assert names(page) == stored[:1000]
        assert "Content-Length" in page.headers
        head = await connection.ask("HEAD", "/storage/files")
        assert head.status == 200
        assert (
            names(await connection.ask("GET", "/storage/files?prefix=file%2002999")) == stored[-1:]
        )
    async with connect(service.port) as connection:
        connection.send("GET", "/storage/files", version="HTTP/1.0")
        answer = await connection.answer()
        assert "Transfer-Encoding" not in answer.headers
        assert [entry["name"] for entry in json.loads(answer.body)] == stored


@pytest.mark.both_loops
async def test_a_listing_that_fails_on_its_way_never_looks_whole(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(service, *(f"{number:03}" for number in range(300)))
    store: FileSystem = service.app[FILESYSTEM]
    listing = store.list_files
    batches_left = 0

    async def failing(
        directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        nonlocal batches_left
        async with aclosing(listing(directory, prefix=prefix, after=after, limit=limit)) as batches:
            async for batch in batches:
                if not batches_left:
                    raise StoreUnavailable("as ordered")
                batches_left -= 1
                yield batch

    monkeypatch.setattr(store, "list_files", failing)
    async with connect(service.port) as connection:
        refused = await connection.ask("GET", "/storage/files")
        assert refused.status == 503
        assert refused.problem()
        batches_left = 1
        connection.send("GET", "/storage/files")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await connection.answer()


@pytest.mark.both_loops
async def test_what_a_scan_finds_is_sent_while_it_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: FileSystem = service.app[FILESYSTEM]
    go_on = asyncio.Event()
    ended = 0

    async def slow(
        directory: str, *, prefix: str = "", after: str = "", limit: int | None = None
    ) -> AsyncGenerator[list[FileInfo], None]:
        nonlocal ended
        assert limit is None, "the store cannot know how many are found"
        try:
            yield [FileInfo(directory, f"{number}", 0, "1", 0, 0) for number in range(1000)]
            await go_on.wait()
            yield [FileInfo(directory, "last 9", 0, "1", 0, 0)]
        finally:
            ended += 1

    monkeypatch.setattr(store, "list_files", slow)
    async with connect(service.port) as connection:
        connection.send("GET", "/storage/files?contains=99")
        await connection.head()
        async with asyncio.timeout(20):
            seen = await connection.reader.readuntil(b'"name": "999"')
        assert b'"name": "99"' in seen
        assert b'"name": "98"' not in seen
        go_on.set()
        async with asyncio.timeout(20):
            assert b'"name"' not in await connection.reader.readuntil(b"]")
    go_on.clear()
    page = await call(service.port, "GET", "/storage/files?contains=9&limit=1")
    assert names(page) == ["9"]
    assert page.headers["Link"] == '</storage/files?contains=9&limit=1&after=9>; rel="next"'
    assert ended == 2


async def test_a_scan_that_finds_nothing_shows_that_it_lives(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfs_server.listing.sending.SILENCE_SECONDS", 0.0)
    plant(service, *map(str, range(1500)))
    answer = await call(service.port, "GET", "/storage/files?contains=999")
    assert names(answer) == ["999"]
    assert answer.body.startswith(b"[\n\n")
    assert (await call(service.port, "GET", "/storage/files?contains=x")).json() == []
