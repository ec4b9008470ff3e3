"""CORS: which origins are allowed, and what the pages of those, and of others, get to see."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from sfs_server.http.cors import EXPOSED, MAX_ORIGIN_CHARACTERS, Origins, check_origin
from sfs_server.web.keys import DATABASE
from tests.support.client import Answer, call, connect
from tests.support.service import Service

SITE, CLOUD = "https://site.example", "https://cloud.example.com"


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://*.Example.com:8443", "https://*.example.com:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("tauri://localhost", "tauri://localhost"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost:8100", "ionic://localhost:8100"),
        ("moz-extension://0a1b2c3d-0000-4000-8000-aabbccddeeff",) * 2,
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop",) * 2,
        ("app://*.example.com", "app://*.example.com"),
    ],
)
def test_an_origin_has_one_spelling(text: str, spelling: str) -> None:
    assert check_origin(text) == spelling
    assert check_origin(spelling) == spelling


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "null", "NULL", "example.com", "*.example.com", "//example.com"),
        *("https://", "https://*", "https://*.", "https://*.com", "https://*.localhost:1"),
        *("https://a.*.example.com", "https://a*.example.com", "https://**.example.com"),
        *("https://*.*.example.com", "*://example.com", "https://example.com:*"),
        *("https://*.127.0.0.1", "https://*.[::1]", "https://example.com:65536"),
        *("https://example.com/", "https://example.com/a", "https://example.com?a"),
        *("https://user@example.com", "https://example.com.", "https://.example.com"),
        *("https://a..b", "https://-a.example", "https://bücher.example", "1a://example.com"),
        *("tauri:localhost", "tauri://", "tauri:///", "tauri://localhost/", "file://localhost"),
        *("file:///srv", "data:text/plain,a", "about:blank", "chrome-extension://*", "-a://b"),
        *("https://a b", "https://a\n", "https://example.com:", "https://a,https://b", "null,a"),
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"origin|domain|address|port"):
        check_origin(text)


@pytest.mark.parametrize(
    ("allowed", "origin", "may"),
    [
        ("https://example.com", "https://example.com", True),
        ("https://example.com", "http://example.com", False),
        ("https://example.com", "https://example.com:8443", False),
        ("https://example.com:8443", "https://example.com:8443", True),
        ("https://example.com:8443", "https://example.com", False),
        ("https://example.com", "https://a.example.com", False),
        ("https://example.com", "https://example.com.evil.example", False),
        ("https://example.com", "https://EXAMPLE.com", False),
        ("https://example.com", "https://example.com/", False),
        ("https://example.com", "https://example.com https://a", False),
        ("https://*.example.com", "https://cloud.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://.example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://a.example.com.evil.example", False),
        ("https://*.example.com", "https://evil.example#.example.com", False),
        ("https://*.example.com", "https://evil.example/.example.com", False),
        ("https://*.example.com", "https://a@b.example.com", False),
        ("https://*.example.com", "http://cloud.example.com", False),
        ("https://*.example.com", "https://cloud.example.com:8443", False),
        ("https://*.example.com:8443", "https://cloud.example.com:8443", True),
        ("https://*.example.com", "https://*.example.com", False),
        ("https://*.example.com", "https://a..example.com", False),
        ("https://*.example.com", "https://a\n.example.com", False),
        ("https://*.example.com", f"https://{'a.' * MAX_ORIGIN_CHARACTERS}example.com", False),
        ("tauri://localhost", "tauri://localhost", True),
        ("tauri://localhost", "http://localhost", False),
        ("tauri://localhost", "capacitor://localhost", False),
        ("tauri://localhost", "tauri://localhost:1", False),
        ("https://example.com", "null", False),
        ("https://example.com", "*", False),
        ("https://example.com", "", False),
        ("http://[::1]:8080", "http://[::1]:8080", True),
    ],
)
def test_an_origin_is_allowed_or_not(allowed: str, origin: str, may: bool) -> None:
    origins = Origins([allowed, "https://else.example"])
    assert origins.allows(origin) is may
    headers: dict[str, str] = {}
    origins.share(CIMultiDict({"Origin": origin}), headers)
    assert headers.pop("Vary") == "Origin"
    assert bool(headers) is may
    assert (origins.preflight(CIMultiDict({"Origin": origin})) is not None) is may
    assert not Origins(()).allows(origin)


# Over HTTP.


async def call_from(
    service: Service,
    origin: str | None,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Call as a page of ``origin`` does, or as a program that has none."""
    named = {} if origin is None else {"Origin": origin}
    return await call(service.port, method, target, {**(headers or {}), **named})


def cors_fields(response: Answer) -> set[str]:
    return {name for name in response.headers if name.lower().startswith("access-control-")}


def varies(response: Answer) -> list[str]:
    assert len(response.headers.getall("Vary", ())) <= 1
    return [name.strip() for name in response.headers.get("Vary", "").split(",")]


@pytest.fixture
def settings() -> dict[str, object]:
    return {"cors_origins": (SITE, "https://*.example.com")}


async def test_every_kind_of_response_can_be_read_by_an_allowed_origin_and_by_no_other(
    service: Service,
) -> None:
    await service.put("/storage/default/a.txt", b"0123456789")
    bearer = service.bearer()["Authorization"]
    etag = (await call_from(service, None, "GET", "/storage/default/a.txt")).headers["ETag"]
    cases: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", "/storage/default/a.txt", {}, 200),
        ("HEAD", "/storage/default/a.txt", {}, 200),
        ("GET", "/storage/default/a.txt", {"Range": "bytes=1-2"}, 206),
        ("GET", "/storage/default/a.txt", {"Range": "bytes=1-2,5-6"}, 206),
        ("GET", "/storage/default/a.txt", {"If-None-Match": etag}, 304),
        ("GET", "/storage/default/a.txt", {"If-Match": '"x"'}, 412),
        ("GET", "/storage/default/a.txt", {"Range": "bytes=10-"}, 416),
        ("GET", "/storage/files", {}, 200),
        ("GET", "/storage/files?limit=1", {}, 200),
        ("GET", "/storage/status", {}, 200),
        ("GET", "/healthz", {}, 200),
        ("GET", "/api/session", {}, 401),
        ("GET", "/api/session", {"Authorization": "Bearer x"}, 401),
        ("GET", "/storage/default/absent", {}, 404),
        ("GET", "/nowhere", {}, 404),
        ("PATCH", "/storage/default/a.txt", {}, 405),
        ("PUT", "/storage/default/new", {}, 401),
        ("PUT", "/storage/default/new", {"Authorization": bearer}, 201),
        ("PUT", "/storage/default/new", {"Expect": "nothing"}, 417),
        ("DELETE", "/storage/default/new", {"Authorization": bearer}, 200),
    ]
    for method, target, headers, status in cases:
        for origin in (SITE, CLOUD, None, "https://evil.example", "null", "https://example.com"):
            if method == "DELETE":
                await service.put(target, b"1")
            response = await call_from(service, origin, method, target, headers)
            case = (method, target, origin)
            replaced = (status, response.status) == (201, 200)
            assert replaced or response.status == status, case
            assert "Origin" in varies(response), case
            if origin not in (SITE, CLOUD):
                assert cors_fields(response) == set(), case
                continue
            assert response.headers.getall("Access-Control-Allow-Origin") == [origin], case
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            assert response.headers["Access-Control-Expose-Headers"] == EXPOSED


async def test_what_is_exposed_is_what_the_contract_says() -> None:
    expected = {"ETag", "Content-Disposition", "Content-Location", "Content-Range", "Link"}
    expected |= {"Location", "Accept-Ranges", "Retry-After", "X-Request-Id"}
    expected |= {"Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable"}
    expected |= {"Tus-Version", "Upload-Defer-Length", "Upload-Expires", "Upload-Length"}
    expected |= {"Upload-Metadata", "Upload-Offset"}
    assert set(EXPOSED.split(", ")) == expected


@pytest.mark.parametrize(
    "target", ["/storage/default/a", "/storage/links", "/storage/namespaces/a", "/nowhere", "/%zz"]
)
async def test_a_preflight_of_an_allowed_origin_gets_its_response_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise AssertionError("a preflight costs no statement")

    monkeypatch.setattr(service.app[DATABASE], "fetch", fetch)
    asked = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type,x-file-size",
    }
    for token in ("", "?token=garbage"):
        response = await call_from(service, CLOUD, "OPTIONS", target + token, asked)
        assert (response.status, response.body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == CLOUD
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    methods = set(response.headers["Access-Control-Allow-Methods"].split(", "))
    assert methods == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "MOVE", "MKCOL"}
    names = set(response.headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert names >= {
        *("authorization", "content-type", "range", "if-match", "if-none-match", "if-range"),
        *("if-modified-since", "if-unmodified-since", "x-file-size", "x-transfer-id"),
        *("x-request-id", "content-digest", "repr-digest", "expect"),
        *("destination", "overwrite", "depth"),
        *("tus-resumable", "upload-offset", "upload-length", "upload-defer-length"),
        *("upload-metadata", "upload-checksum", "upload-concat"),
        *("upload-complete", "upload-draft-interop-version"),
    }
    assert "*" not in names
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert varies(response)[:1] == ["Origin"]


async def test_an_options_that_is_no_preflight_of_an_allowed_origin_says_what_the_path_takes(
    service: Service,
) -> None:
    preflight = {"Access-Control-Request-Method": "PUT"}
    for target, status in (("/storage/default/a", 204), ("*", 204), ("/api/nowhere", 404)):
        for origin, more in (
            (None, {}),
            (None, preflight),
            (SITE, {}),
            ("https://evil.example", preflight),
        ):
            response = await call_from(service, origin, "OPTIONS", target, more)
            assert response.status == status
            assert ("Allow" in response.headers) == (status == 204)
            assert (cors_fields(response) == set()) == (origin != SITE)
            assert "Access-Control-Allow-Methods" not in response.headers
    assert (await call_from(service, SITE, "OPTIONS", "*", preflight)).status == 204
    async with connect(service.port) as connection:
        raw = f"OPTIONS /api/a HTTP/1.1\r\nHost: a\r\nOrigin: {SITE}\r\nOrigin: {CLOUD}\r\n"
        connection.send_raw(f"{raw}Access-Control-Request-Method: PUT\r\n\r\n".encode())
        twice = await connection.answer()
        assert (twice.status, cors_fields(twice)) == (404, set())


class TestWithoutOrigins:
    @pytest.fixture
    def settings(self) -> dict[str, object]:
        return {}

    async def test_nothing_is_said_of_cors(self, service: Service) -> None:
        preflight = {"Access-Control-Request-Method": "PUT"}
        for method, target in (("GET", "/healthz"), ("OPTIONS", "/storage/default/a")):
            response = await call_from(service, SITE, method, target, preflight)
            assert response.status == (200 if method == "GET" else 204)
            assert cors_fields(response) == set()
            assert "Vary" not in response.headers
