"""The index of a folder: for people, for programs that follow links, and as JSON."""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

import pytest

from tests.support.client import Answer, call, connect
from tests.support.service import Service

NAMES = ["a b.txt", "<b>&amp;.html", "\u202egpj.exe", "a:b", "é", "50%", "x?y#z", "'\"", "d/e/f"]


async def plant(service: Service) -> None:
    for name in NAMES:
        await service.put(f"/storage/default/top/{quote(name)}", name.encode())


def links(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return re.findall(r'<a href="([^"]*)">', answer.body.decode())


async def test_every_link_leads_to_what_it_names(service: Service) -> None:
    await plant(service)
    async with connect(service.port) as connection:
        page = await connection.ask("GET", "/storage/default/top/")
        up, *hrefs = links(page)
        assert up == "../"
        base = f"http://sfs.example:{service.port}/storage/default/top/"
        stored = sorted([*(name for name in NAMES if "/" not in name), "d"], key=str.encode)
        assert len(hrefs) == len(stored)
        for href, name in zip(hrefs, stored, strict=True):
            target = urljoin(base, href).removeprefix(f"http://sfs.example:{service.port}")
            served = await connection.ask("GET", target)
            if name == "d":
                assert target.endswith("/top/d/")
                assert links(served) == ["../", "e/"]
            else:
                assert served.body == name.encode()
        assert links(await connection.ask("GET", "/storage/default/")) == ["top/"]


async def test_the_page_can_do_nothing_and_is_kept_by_nobody(service: Service) -> None:
    await plant(service)
    page = await call(service.port, "GET", "/storage/default/top/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "private, no-cache"
    assert page.headers["Vary"] == "Accept, Authorization, Cookie, Origin"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    text = page.body.decode()
    assert "<script" not in text
    assert "<b>" not in text
    assert "<bdi>\u202egpj.exe</bdi>" in text


async def test_json_is_what_the_list_of_that_folder_is(service: Service) -> None:
    await plant(service)
    async with connect(service.port) as connection:
        for path, folder in (("", ""), ("top/", "top"), ("top/d/", "top/d")):
            for query in ("", "&limit=2", "&type=folder", "&contains=E", "&prefix=a&after=a%20b"):
                listed = await connection.ask("GET", f"/storage/files?folder={folder}{query}")
                target = f"/storage/default/{path}?{query.removeprefix('&')}"
                index = await connection.ask("GET", target, {"Accept": "application/json"})
                assert index.headers["Content-Type"] == listed.headers["Content-Type"]
                assert index.headers["Vary"] == "Accept, Authorization, Cookie, Origin"
                assert index.body == listed.body
                assert ("Link" in index.headers) == ("Link" in listed.headers)
        page = await connection.ask("GET", "/storage/default/top/?limit=2")
        assert len(links(page)) == 3
        assert "/storage/default/top/?limit=2&after=" in page.headers["Link"]


async def test_a_token_in_the_query_goes_along(service: Service) -> None:
    await service.make_namespace("mine", hidden=True)
    await service.put("/storage/mine/d/e%20f", b"1")
    token = service.token("alice")
    async with connect(service.port) as connection:
        page = await connection.ask("GET", f"/storage/mine/d/?token={token}")
        assert links(page) == [f"../?token={token}", f"e%20f?token={token}"]
        assert page.headers["Referrer-Policy"] == "no-referrer"
        target = f"/storage/mine/d/{links(page)[1]}"
        assert (await connection.ask("GET", target)).body == b"1"
        hidden = await connection.ask("GET", "/storage/mine/d/", service.bearer("bob"))
        absent = await connection.ask("GET", "/storage/none/d/", service.bearer("bob"))
        assert hidden.status == absent.status == 404
        assert hidden.body == absent.body
        signed = await connection.ask("GET", "/storage/mine/d/", service.bearer("alice"))
        assert links(signed) == ["../", "e%20f"]


async def test_a_link_leads_to_all_below_its_folder_and_not_above_it(service: Service) -> None:
    await service.put("/storage/default/up/d/e/f", b"1")
    made = await call(
        service.port,
        "POST",
        "/storage/links",
        service.bearer(),
        {"namespace": "default", "folder": "up/d"},
    )
    url = made.json()["url"]
    query = url[url.index("?") :]
    async with connect(service.port) as connection:
        assert links(await connection.ask("GET", url)) == [f"e/{query}"]
        below = await connection.ask("GET", f"/storage/default/up/d/e/{query}")
        assert links(below) == [f"../{query}", f"f{query}"]
        above = await connection.ask("GET", f"/storage/default/up/{query}")
        assert above.status == 401


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
async def test_a_head_has_the_headers_and_no_body(service: Service, accept: str) -> None:
    await plant(service)
    async with connect(service.port) as connection:
        for target in ("/storage/default/", "/storage/default/top/"):
            found = await connection.ask("GET", target, {"Accept": accept})
            head = await connection.ask("HEAD", target, {"Accept": accept})
            assert head.status == 200
            for name in ("Content-Type", "Vary", "Cache-Control"):
                assert head.headers[name] == found.headers[name]
        gone = await connection.ask("HEAD", "/storage/default/none/", {"Accept": accept})
        assert gone.status == 404


async def test_what_is_no_folder_has_no_index(service: Service) -> None:
    await plant(service)
    async with connect(service.port) as connection:
        for path in ("none/", "top/none/", "top/%C3%A9/", "top/d/e/f/", "Top/"):
            assert (await connection.ask("GET", f"/storage/default/{path}")).status == 404, path
        for path in ("top//", "top/%2E%2E/", "top/a%2Fb/", "top/%00/"):
            assert (await connection.ask("GET", f"/storage/default/{path}")).status == 400, path
