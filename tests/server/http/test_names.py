"""Names over HTTP: what went in is what comes out, byte for byte, and what cannot be is refused."""

from __future__ import annotations

import os
import unicodedata
from itertools import pairwise
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gfs.errors import InvalidName
from gfs.paths import check_name
from sfs_server.http.disposition import content_disposition
from tests.support.client import Connection, connect
from tests.support.service import Service

GOOD = [
    "a",
    "a b  c",
    "été",
    "文件.txt",
    "😀👩‍👩‍👧.png",
    "مرحبا",
    "\"quoted\" 'twice' `thrice`",
    "{}",
    "{name}",
    "a;b=c",
    "a+b",
    "a&b=c",
    "a#b",
    "a?b",
    "100%",
    "%25",
    "a%20b",
    "%2F",
    "%2e%2e",
    "%00",
    "%zz",
    "...",
    ".hidden",
    "-rf",
    "~tmp",
    "a:b|c<d>e*f",
    "http:",
    "\u200bzero width",
    "\N{REPLACEMENT CHARACTER}",
    "\U0010ffff",
    "x" * 255,
    "é" * 127 + "x",
    "😀" * 63 + "abc",
]


def valid(name: str) -> bool:
    try:
        check_name(name)
    except InvalidName:
        return False
    return True


async def round_trip(service: Service, connection: Connection, name: str, target: bytes) -> None:
    """Take ``name``, written in the request line as ``target``, through its whole life."""
    bearer = service.bearer()
    path = b"/storage/default/" + target
    body = os.urandom(20)
    made = await connection.ask("PUT", path, bearer, body)
    assert made.status == 201, (name, made)
    assert made.json()["name"] == name
    canonical = f"/storage/default/{quote(name, safe='')}"
    assert made.headers["Location"] == canonical
    for place in (path, canonical, b"/storage/download/default/" + target):
        assert (await connection.ask("GET", place)).body == body
    [entry] = (await connection.ask("GET", "/storage/files")).json()
    assert (entry["name"], entry["path"]) == (name, canonical)
    assert os.listdir(service.data / "files" / "default") == [name]
    gone = await connection.ask("DELETE", path, bearer)
    assert (gone.status, gone.json()["name"]) == (200, name)
    assert (await connection.ask("GET", canonical)).status == 404


async def test_every_good_name_comes_out_as_it_went_in(service: Service) -> None:
    async with connect(service.port) as connection:
        for name in GOOD:
            least = quote(name, safe="!$&'()*+,;=:@")
            most = "".join(f"%{byte:02x}" for byte in name.encode())
            for target in {least, most}:
                await round_trip(service, connection, name, target.encode())


async def test_a_client_may_leave_printable_ascii_as_it_is(service: Service) -> None:
    async with connect(service.port) as connection:
        for name in ('a"b', "{a}", "a|b", "a^b`c", "<a>", "~a", "[a]", "a'b"):
            await round_trip(service, connection, name, name.encode())


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
@example(name="a%2520b")
@example(name="\ufeffbom")
@example(name="\u2028line")
@example(name="e\u0301")
async def test_any_text_is_kept_as_it_is_or_refused(service: Service, name: str) -> None:
    target = quote(name, safe="").encode()
    async with connect(service.port) as connection:
        if valid(name):
            await round_trip(service, connection, name, target)
        else:
            refused = await connection.ask(
                "PUT", b"/storage/default/" + target, service.bearer(), b"x"
            )
            assert refused.status == 400
            assert refused.problem()


LONGEST = "/".join(["x" * 204] * 5)

PATHS = [
    "a/b",
    "été/文件.txt",
    "100%/%2F/%2e%2e/a%20b",
    ".../-rf/~tmp",
    "a?b/c#d/e;f",
    "/".join("abcdefghijklmnopqrstuvwxyzABCDEF"),
    LONGEST,
    "download/files",
    *(f"{outer}/{inner}" for outer, inner in pairwise(GOOD)),
]


@pytest.mark.parametrize("path", PATHS)
async def test_every_good_path_comes_out_as_it_went_in(service: Service, path: str) -> None:
    most = "/".join("".join(f"%{byte:02x}" for byte in name.encode()) for name in path.split("/"))
    canonical = f"/storage/default/{quote(path)}"
    body = os.urandom(20)
    async with connect(service.port) as connection:
        for target in {canonical, f"/storage/default/{most}"}:
            made = await connection.ask("PUT", target, service.bearer(), body)
            assert made.status == 201
            assert (made.json()["name"], made.headers["Location"]) == (path, canonical)
            saved = await connection.ask(
                "GET", target.replace("/storage/", "/storage/download/", 1)
            )
            assert (saved.body, (await connection.ask("GET", canonical)).body) == (body, body)
            last = path.rpartition("/")[2]
            assert saved.headers["Content-Disposition"] == content_disposition("attachment", last)
            [entry] = (await connection.ask("GET", "/storage/files")).json()
            assert (entry["name"], entry["path"]) == (path, canonical)
            gone = await connection.ask("DELETE", target, service.bearer())
            assert (gone.status, gone.json()["name"]) == (200, path)


async def test_percent_decoding_happens_once(service: Service) -> None:
    await service.put("/storage/default/a%2520b", b"twice")
    await service.put("/storage/default/a%20b", b"once")
    assert await service.get("/storage/default/a%2520b") == (200, b"twice")
    assert await service.get("/storage/default/a%20b") == (200, b"once")
    assert sorted(os.listdir(service.data / "files" / "default")) == ["a b", "a%20b"]


async def test_two_spellings_of_one_text_are_two_files(service: Service) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    await service.put(f"/storage/default/{quote(composed)}", b"composed")
    await service.put(f"/storage/default/{quote(decomposed)}", b"decomposed")
    assert await service.get(f"/storage/default/{quote(composed)}") == (200, b"composed")
    assert await service.get(f"/storage/default/{quote(decomposed)}") == (200, b"decomposed")


BAD_FILES = [
    b"%2F",
    b"a%2fb",
    b"..%2f..%2fetc",
    b"%5C",
    b"a\\b",
    b"%00",
    b"a%00b",
    b"a%0d%0ab",
    b"a%0Ab",
    b"a%09b",
    b"%7F",
    b"%C2%85",
    b"..",
    b"%2e",
    b"%2e%2e",
    b".%2E",
    b"x" * 256,
    b"%C3%A9" * 128,
    b"%20",
    b"%20a",
    b"a%20",
    b"a%C2%A0",
    b"%E3%80%80a",
    b"%ff",
    b"a%C3",
    b"%C0%AF",
    b"%ED%A0%80",
    b"%zz",
    b"a%",
    b"a%2",
    b"%u0041",
]

BAD_FILES += [
    *(b"a/" + name + b"/b" for name in BAD_FILES),
    b"a//b",
    b"/a",
    b"a/./../b",
    b"/".join([b"x"] * 33),
    b"/".join([b"x" * 204] * 5) + b"y",
]

BAD_NAMESPACES = [
    *(b"files namespaces download upload delete status links".split()),
    b"x" * 64,
    b"..",
    b"%2e%2e",
    b"a%20b",
    b"a%2Fb",
    b"%C3%A9",
    b"a+b",
    b"a~b",
    b"~tmp",
    b"%7Etmp",
    b"a%00",
    b"%ff",
    b"%zz",
]


@pytest.mark.parametrize("by", ["its owner", "anybody"])
async def test_names_that_cannot_be_are_refused_by_every_verb(service: Service, by: str) -> None:
    headers = service.bearer() if by == "its owner" else {}
    paths = [b"/storage/default/" + name for name in BAD_FILES]
    paths += [b"/storage/" + name + b"/file" for name in BAD_NAMESPACES]
    async with connect(service.port) as connection:
        for path in paths:
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                response = await connection.ask(method, path, headers)
                if path == b"/storage/namespaces/file":  # the namespace called "file"
                    assert method in ("PUT", "DELETE") or response.status == 405, method
                    continue
                assert response.status == 400, (method, path)
                if method != "HEAD":
                    assert response.problem()
        for path in paths:
            response = await connection.ask(
                "GET", path.replace(b"/storage/", b"/storage/download/")
            )
            assert response.status == 400, path
    assert os.listdir(service.data / "files" / "default") == []


async def test_namespaces_of_odd_names_are_good_and_bad_ones_are_refused(service: Service) -> None:
    headers = service.bearer()
    async with connect(service.port) as connection:
        for name in ("x" * 63, "...", ".a", "-", "_", "A.b-c_9", "Files"):
            assert (await service.make_namespace(name))["name"] == name
            await round_trip_in(connection, name, headers)
        for raw in BAD_NAMESPACES:
            listed = await connection.ask("GET", b"/storage/files?namespace=" + raw, headers)
            assert listed.status == 400, raw
            assert listed.problem()
            for method in ("PUT", "DELETE"):
                refused = await connection.ask(method, b"/storage/namespaces/" + raw, headers)
                assert refused.status == 400, (method, raw)
                assert refused.problem()


async def round_trip_in(connection: Connection, namespace: str, headers: dict[str, str]) -> None:
    path = f"/storage/{namespace}/a"
    assert (await connection.ask("PUT", path, headers, b"x")).status == 201
    assert (await connection.ask("GET", path, headers)).body == b"x"
    [entry] = (await connection.ask("GET", f"/storage/files?namespace={namespace}", headers)).json()
    assert (entry["namespace"], entry["path"]) == (namespace, path)


async def test_paths_are_not_normalised_into_other_paths(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    async with connect(service.port) as connection:
        for path, statuses in (
            ("/storage/default/a/", {404}),
            ("/storage/default/a//", {400}),
            ("/storage/default//a", {400}),
            ("/storage/default//", {404}),
            ("/storage/default/%2E/a", {400}),
            ("/storage/default/b%2Fa", {400}),
            ("/storage//a", {404, 400}),
            ("/storage/default", {404}),
            ("/storage/default/b/../a", {400}),
            ("/storage/default/..", {400}),
            ("/storage/./a", {404}),
            ("/storage/files?namespace=.", {400}),
            ("//storage/default/a", {404, 400}),
            ("/STORAGE/default/a", {404}),
            ("/storage/Default/a", {404}),
            ("/storage/default/A", {404}),
            ("/storage%2Fdefault/a", {404}),
            ("/storage%2Fdefault%2Fa", {404}),
        ):
            response = await connection.ask("GET", path)
            assert response.status in statuses, path
            assert response.problem()
        assert (await connection.ask("GET", "/storage/default/./a")).body == b"x"
        whole = f"http://127.0.0.1:{service.port}/storage/default/a"
        assert (await connection.ask("GET", whole)).body == b"x"


async def test_letters_may_be_percent_encoded_in_every_part_of_a_path(service: Service) -> None:
    await service.put("/storage/default/a", b"x")
    async with connect(service.port) as connection:
        for path in (
            "/%73torage/default/a",
            "/storage/%64efault/%61",
            "/storage/%64ownload/default/a",
        ):
            assert (await connection.ask("GET", path)).body == b"x", path
            assert (await connection.ask("DELETE", path)).status in (401, 405), path
        assert (await connection.ask("GET", "/storage/download/%64efault/a")).body == b"x"
