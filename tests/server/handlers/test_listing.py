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
    """Put files there without the service, which is quicker."""
    for name in names:
        (directory(service) / name).write_bytes(b"x")


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
    begun = int(time.time())
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
            assert begun <= entry["created_at"] <= entry["modified_at"] <= time.time()
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
    (here / "directory").mkdir()
    (here / "directory" / "inner").write_text("secret")
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
        [namespace] = (await connection.ask("GET", "/storage/namespaces")).json()
        assert namespace["count"] == len(expected)
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
