"""The files of the web page over HTTP: what is found, what is cached, what cannot be reached."""

from __future__ import annotations

import gzip
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from hatchling.builders.wheel import WheelBuilder

from sfs_server.app import make_app
from sfs_server.config import Config, ConfigError
from sfs_server.errors import Problem
from sfs_server.page import files as static_files
from sfs_server.web import error_page
from tests.support.client import call
from tests.support.launcher import run
from tests.support.service import Service

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
STATIC = Path(static_files.PACKAGED)
FIRST_LOAD = 45_000
WHOLE_PAGE = 90_000
"""Bytes that may be sent for all that the page can load, each file once."""

NOT_LOADED = (".d.ts", ".txt")
"""Types of vendored code for an editor, and licences: no browser asks for them."""


# The packaged page.


async def test_the_page_is_served_under_the_strictest_policy(service: Service) -> None:
    page = await call(service.port, "GET", "/", BROWSER)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {
        policy[f"{kind}-src"] for kind in ("script", "style", "img", "media", "connect", "frame")
    } == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-cache"
    assert b"<style" not in page.body
    assert not re.search(rb"<script(?![^>]* src=)", page.body)
    assert not re.search(rb"""\s(?:style|on\w+)=["']""", page.body)


async def test_all_that_the_page_refers_to_is_there_and_may_be_kept_for_ever(
    service: Service,
) -> None:
    page = await call(service.port, "GET", "/", BROWSER)
    waiting = set(re.findall(r'(?:href|src)="(/[^"]*)"', page.body.decode()))
    assert len(waiting) > 10
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        assert re.match(r"/@[0-9a-f]{16}/", path), path
        found = await call(service.port, "GET", path)
        assert found.status == 200, path
        assert found.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        folder = path.rpartition("/")[0]
        for name in re.findall(rb'(?:from|import)\s*\(?\s*"([^"]*)"', found.body):
            assert name.startswith(b"./"), f"{path} imports {name!r}"
            waiting |= {f"{folder}/{name.decode()[2:]}"} - seen
    modules = {path for path in seen if path.endswith(".js")}
    on_disk = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")}
    assert {path.split("/", 2)[2] for path in modules} == on_disk


async def test_what_the_first_sight_takes_is_small(service: Service) -> None:
    page = await call(service.port, "GET", "/", {**BROWSER, "Accept-Encoding": "gzip"})
    paths = re.findall(r'(?:href|src)="(/@[^"]*)"', gzip.decompress(page.body).decode())
    icons = paths[0].rpartition("/")[0] + "/icons.svg"
    parts = [
        await call(service.port, "GET", path, {"Accept-Encoding": "gzip"})
        for path in {*paths, icons}
    ]
    assert all("Content-Encoding" in part.headers for part in parts if len(part.body) > 512)
    assert sum(len(part.body) for part in [page, *parts]) < FIRST_LOAD


def test_all_that_the_page_can_load_is_small() -> None:
    sizes = {
        name: len((file.packed or file.plain).body)
        for name, file in static_files.load(None).files.items()
        if not name.endswith(NOT_LOADED)
    }
    total = sum(sizes.values())
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:15]
    table = "\n".join(f"{sizes[name]:>7,} {name}" for name in largest)
    assert total <= WHOLE_PAGE, f"{total:,} of {WHOLE_PAGE:,} bytes; the largest:\n{table}"


def test_of_the_packaged_page_only_comments_and_indentation_are_not_sent() -> None:
    sent = static_files.load(None).files
    left_out = 0
    for path in [*STATIC.rglob("*.js"), *STATIC.rglob("*.css")]:
        before = path.read_text().split("\n")
        after = sent[path.relative_to(STATIC).as_posix()].plain.body.decode().split("\n")
        assert len(before) == len(after), path
        for line, line_sent in zip(before, after, strict=True):
            code = re.sub(r"/\*\* @type [^/]*?\*/ ?", "", line).lstrip()
            if line_sent != code:
                assert line_sent == ""
                assert line.strip().startswith(("//", "/*", "*")) or line.endswith("*/"), line
                left_out += 1
    assert left_out > 500


async def test_nothing_is_fetched_from_elsewhere() -> None:
    for path in STATIC.rglob("*"):
        if path.suffix in (".js", ".css", ".html", ".svg"):
            text = path.read_text().replace("http://www.w3.org/", "")
            assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), path
            assert "innerHTML" not in text or path.parent != STATIC, path


async def test_the_version_of_another_release_is_not_kept(service: Service) -> None:
    found = await call(service.port, "GET", "/@0123456789abcdef/main.js")
    assert (found.status, found.headers["Cache-Control"]) == (200, "no-cache")
    assert (await call(service.port, "GET", "/@0123456789abcdef/nothing.js")).status == 404
    assert (await call(service.port, "GET", "/@/main.js")).headers["Cache-Control"] == "no-cache"


async def test_the_icon_of_old_browsers_is_one(service: Service) -> None:
    icon = await call(service.port, "GET", "/favicon.ico")
    assert icon.status == 200
    assert struct.unpack("<HH", icon.body[:4]) == (0, 1)


async def test_a_navigation_to_no_file_gets_the_page_and_anything_else_a_problem(
    service: Service,
) -> None:
    index = await call(service.port, "GET", "/", BROWSER)
    for target in ("/ns/photos", "/nothing.js", "/a/b/c", "/storagex", "/metrics/x", "/%0a"):
        page = await call(service.port, "GET", target, BROWSER)
        assert (page.status, page.body) == (200, index.body), target
        assert (await call(service.port, "HEAD", target, BROWSER)).status == 200
        missing = await call(service.port, "GET", target)
        assert (missing.status, bool(missing.problem())) == (404, True), target
    assert (await call(service.port, "POST", "/nothing", BROWSER)).status == 405


async def test_paths_of_the_api_are_never_the_page(service: Service) -> None:
    for target in (
        "/storage",
        "/storage/",
        "/storage/a/b/c",
        "/api",
        "/api/nothing",
        "/sse/nothing",
    ):
        assert (await call(service.port, "GET", target, BROWSER)).status == 404, target
        assert (await call(service.port, "GET", target)).problem(), target


# Conditions and codings.


async def test_a_file_that_has_not_changed_is_not_sent_again(service: Service) -> None:
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        first = await call(service.port, "GET", "/main.js", headers)
        again = await call(
            service.port, "GET", "/main.js", {**headers, "If-None-Match": first.headers["ETag"]}
        )
        assert (again.status, again.body) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    changed = await call(service.port, "GET", "/main.js", {"If-None-Match": '"another"'})
    assert changed.status == 200
    assert (await call(service.port, "GET", "/main.js", {"If-Match": '"another"'})).status == 412


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5, *;q=0", "gzip"),
        ("*", "gzip"),
        ("deflate,gzip ; q=1.0", "gzip"),
        ("gzip;q=0", None),
        ("*, gzip;q=0", None),
        ("gzip;q=1" + " " * 8000 + "x", None),
        ("gzip;q=0.000, br", None),
        ("br, gzipped", None),
        ("identity", None),
    ],
)
async def test_text_is_compressed_for_whoever_takes_it(
    service: Service, accepted: str, coding: str | None
) -> None:
    plain = await call(service.port, "GET", "/app.css")
    packed = await call(service.port, "GET", "/app.css", {"Accept-Encoding": accepted})
    assert packed.headers.get("Content-Encoding") == coding
    body = gzip.decompress(packed.body) if coding else packed.body
    assert body == plain.body
    assert b"--row" in body
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    assert (packed.headers["ETag"] == plain.headers["ETag"]) == (coding is None)


async def test_head_says_what_get_would(service: Service) -> None:
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        got = await call(service.port, "GET", "/app.css", headers)
        head = await call(service.port, "HEAD", "/app.css", headers)
        assert head.status == 200
        for name in ("Content-Length", "Content-Type", "ETag", "Cache-Control", "Vary"):
            assert head.headers[name] == got.headers[name]
    whole = await call(service.port, "GET", "/app.css", {"Range": "bytes=0-1"})
    assert whole.status == 200


# A page of one's own.


@pytest.fixture
def own(tmp_path: Path) -> Path:
    root = tmp_path / "page"
    (root / "docs").mkdir(parents=True)
    (root / "index.html").write_text('<script src="/@/a.js"></script><a href="/a.js">')
    (root / "docs" / "index.html").write_text("docs")
    (root / "docs" / "a b.txt").write_text("a b")
    (root / ".env").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "outside" / "a.js").write_text("a")
    (root / "a.js").symlink_to(tmp_path / "outside" / "a.js")
    (root / "linked").symlink_to(tmp_path / "outside")
    return root


async def test_a_page_of_ones_own_replaces_it_all(
    config: Config, own: Path, aiohttp_server: pytest.FixtureRequest
) -> None:
    server: TestServer = await aiohttp_server(make_app(replace(config, static=str(own))))  # type: ignore[operator]
    port = server.port
    assert port is not None
    page = await call(port, "GET", "/")
    version = re.search(rb'"/@([0-9a-f]{16})/a\.js"', page.body)
    assert version is not None
    assert b'"/a.js"' in page.body
    assert "Content-Security-Policy" not in page.headers
    assert (await call(port, "GET", f"/@{version[1].decode()}/a.js")).body == b"a"
    assert (await call(port, "GET", "/docs/")).body == b"docs"
    assert (await call(port, "GET", "/docs/a%20b.txt")).body == b"a b"
    assert (await call(port, "GET", "/app.css")).status == 404
    for target in (
        "/.env",
        "/.git/config",
        "/linked/secret",
        "/../outside/secret",
        "/%2e%2e/outside/secret",
        "/..%2foutside%2fsecret",
        "/docs/..%5c..%5coutside%5csecret",
        "/docs/%2e%2e/%2e%2e/outside/secret",
        "//outside/secret",
        f"/{own.parent}/outside/secret",
        "/a.js%00",
        "/%ff",
    ):
        answer = await call(port, "GET", target)
        assert answer.status in (400, 404), target
        assert b"secret" not in answer.body


def test_a_directory_that_is_no_page_is_an_error_at_the_start(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    static_files.load(str(own))
    for wrong in (tmp_path / "absent", own / "a.js", tmp_path / "outside"):
        with pytest.raises(ConfigError, match="-static"):
            static_files.load(str(wrong))
    monkeypatch.setattr(static_files, "MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="held in memory"):
        static_files.load(str(own))


def test_the_flag_and_its_variable_are_read(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    for arguments, env in ((["-static", absent], {}), ([], {"SFS_STATIC": absent})):
        data = ["-data", str(tmp_path / "data")]
        done = run("-addr", "127.0.0.1:0", *data, *arguments, env=env)
        assert done.returncode == 1
        assert done.stderr == "sfs-server: -static cannot be read: No such file or directory.\n"


# In the package.


def test_the_wheel_carries_the_page_and_the_marks_of_types() -> None:
    root = str(STATIC.parents[2])
    carried = {file.distribution_path for file in WheelBuilder(root).recurse_included_files()}
    files = [path for path in STATIC.rglob("*") if path.is_file() and path.suffix != ".ts"]
    assert {
        f"sfs_server/page/static/{path.relative_to(STATIC).as_posix()}" for path in files
    } <= carried
    assert "sfs_server/page/static/vendor/LICENSE-preact.txt" in carried
    assert {"gfs/py.typed", "sfs_server/py.typed"} <= carried, "for those who check types"
    assert not [path for path in carried if path.endswith(".ts")], "types of JavaScript are for us"


# The error page.


def test_the_error_page_allows_its_own_style_alone() -> None:
    page = error_page.error_page(Problem(503, "Try <b>again</b> & again."))
    assert "Try &lt;b&gt;again&lt;/b&gt; &amp; again." in page
    assert "<script" not in page
    assert not re.search(r"\sstyle=|url\(|@import|src=", page)
    assert error_page.POLICY.startswith("default-src 'none'")
    assert "unsafe" not in error_page.POLICY


async def test_a_person_is_shown_that_it_is_the_link_that_is_refused(service: Service) -> None:
    """They need not have an account."""
    target = "/storage/default/a.txt"
    for token in ("x.y.z", "x" * 60):
        answer = await call(service.port, "GET", f"{target}?token={token}", BROWSER)
        assert answer.status == 401
        assert b"<h1>This link does not work any more</h1>" in answer.body
    answer = await call(service.port, "DELETE", target, BROWSER)
    assert answer.status == 401
    assert b"<h1>You are not signed in</h1>" in answer.body
