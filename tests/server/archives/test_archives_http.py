"""Archives of folders, over HTTP."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from sfs_server.web.keys import ARCHIVES
from tests.support.client import MIB, Answer, Connection, call, connect
from tests.support.credentials import bearer
from tests.support.events import seen
from tests.support.programs import find_program, run_program
from tests.support.service import Service
from tests.support.waiting import eventually

DEEP = "/".join("d" * 31 for _ in range(31)) + "/file"
"""A path of 32 segments."""

TREE: dict[str, bytes | None] = {
    "a.txt": b"12345",
    "empty": None,
    "empty/too": None,
    "nothing": b"",
    "sub": None,
    "sub/a.txt": bytes(range(256)) * 10_000,
    "sub/Ünï 😀 & #1.txt": b"unicode",
    "ü" * 127 + "x": b"255 bytes",
}
"""What is below a folder: its files, with their bytes, and its folders."""

LARGE = 64 * MIB
"""More than the sockets of a connection hold."""

TOP = "/storage/default/photos/"


@pytest.fixture
def large(service: Service) -> Path:
    """A folder that does not exist yet."""
    return service.data / "files" / "default" / "large"


@pytest.fixture
def folder(service: Service) -> Path:
    """The folder ``photos`` of the namespace ``default``, with TREE in it."""
    top = service.data / "files" / "default" / "photos"
    grow(top, TREE)
    return top


def grow(top: Path, tree: dict[str, bytes | None]) -> None:
    for path, body in tree.items():
        if body is None:
            (top / path).mkdir(parents=True)
        else:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_bytes(body)


async def get(service: Service, target: str) -> Answer:
    return await call(service.port, "GET", target, bearer())


def unzipped(body: bytes) -> dict[str, bytes | None]:
    """What is in an archive, as TREE describes it."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        return {
            info.filename.rstrip("/"): None if info.is_dir() else archive.read(info)
            for info in archive.infolist()
        }


@pytest.mark.both_loops
async def test_the_whole_folder_arrives(service: Service, folder: Path, tmp_path: Path) -> None:
    async with connect(service.port) as client:
        known = await client.ask("HEAD", f"{TOP}?archive=zip", bearer())
        found = await client.ask("GET", f"{TOP}?archive=zip", {**bearer(), "Range": "bytes=0-9"})
        assert (await client.ask("GET", f"{TOP}a.txt", bearer())).body == b"12345"
    assert (known.status, found.status) == (200, 200)
    assert int(known.headers["Content-Length"]) == len(found.body)
    assert unzipped(found.body) == TREE
    for headers in (known.headers, found.headers):
        assert headers["Content-Type"] == "application/zip"
        assert headers["Content-Disposition"].startswith('attachment; filename="photos.zip"')
        assert headers["Cache-Control"] == "private, no-cache"
        assert headers["Accept-Ranges"] == "none"
        assert "ETag" not in headers
    archive = tmp_path / "photos.zip"
    archive.write_bytes(found.body)
    for tester in (("unzip", "-tqq"), ("7z", "t")):
        said = await asyncio.to_thread(run_program, *tester, archive)
        assert "warning" not in said.lower()


async def test_times_are_those_of_the_files(service: Service, folder: Path) -> None:
    body = (await get(service, f"{TOP}?archive=zip&name=a.txt")).body
    seconds = int((folder / "a.txt").stat().st_mtime)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert int.from_bytes(archive.getinfo("a.txt").extra[5:9], "little") == seconds


async def test_a_namespace_and_the_deepest_folder(service: Service) -> None:
    top = service.data / "files" / "default"
    grow(top, {DEEP: b"deep", "file": b"flat"})
    found = await get(service, "/storage/default/?archive=zip")
    assert found.headers["Content-Disposition"].startswith('attachment; filename="default.zip"')
    folders = {str(parent): None for parent in Path(DEEP).parents if str(parent) != "."}
    assert unzipped(found.body) == {**folders, DEEP: b"deep", "file": b"flat"}
    found = await get(service, f"/storage/default/{DEEP.removesuffix('file')}?archive=zip")
    assert unzipped(found.body) == {"file": b"deep"}


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["a.txt"], {"a.txt"}),
        (["sub", "a.txt", "sub"], {"a.txt", "sub", "sub/a.txt", "sub/Ünï 😀 & #1.txt"}),
        (["empty"], {"empty", "empty/too"}),
    ],
)
async def test_only_what_is_named(
    service: Service, folder: Path, names: list[str], paths: set[str]
) -> None:
    query = "".join(f"&name={quote(name)}" for name in names)
    found = await get(service, f"{TOP}?archive=zip{query}")
    assert unzipped(found.body) == {path: TREE[path] for path in paths}


@pytest.mark.parametrize(
    ("target", "status", "detail"),
    [
        (f"{TOP}?archive=tar", 400, "?archive=zip"),
        (f"{TOP}?archive=zip&archive=zip", 400, "?archive=zip"),
        (f"{TOP}?archive=", 400, "?archive=zip"),
        (f"{TOP}?archive=zip&name=sub%2Fa.txt", 400, "slash"),
        (f"{TOP}?archive=zip&name=", 400, "bytes"),
        (f"{TOP}?archive=zip&name=..", 400, ".."),
        (f"{TOP}?archive=zip&name=a.txt&name=none", 404, "no such file"),
        (f"{TOP}a.txt/?archive=zip", 404, "no such folder"),
        ("/storage/default/none/?archive=zip", 404, "no such folder"),
        ("/storage/none/?archive=zip", 404, "no such namespace"),
        (f"{TOP}a.txt?archive=zip", 400, "folder"),
    ],
)
async def test_what_is_refused(
    service: Service, folder: Path, target: str, status: int, detail: str
) -> None:
    answer = await get(service, target)
    assert (answer.status, detail in answer.problem()) == (status, True), answer


async def test_only_who_may_read_gets_it(service: Service) -> None:
    await service.make_namespace("private", hidden=True)
    await service.put("/storage/private/f", b"1")
    target = "/storage/private/?archive=zip"
    assert unzipped((await get(service, target)).body) == {"f": b"1"}
    foreign = await call(service.port, "GET", target, bearer("bob"))
    absent = await call(service.port, "GET", target.replace("private", "absent"), bearer("bob"))
    assert (foreign.status, foreign.body) == (404, absent.body)
    assert (await call(service.port, "GET", target)).status == 404


@pytest.mark.parametrize(("limit", "status"), [("MAX_ENTRIES", 413), ("MAX_KEPT", 503)])
async def test_too_many_entries(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch, limit: str, status: int
) -> None:
    monkeypatch.setattr(f"sfs_server.archives.contents.{limit}", len(TREE))
    assert (await get(service, f"{TOP}?archive=zip")).status == 200
    monkeypatch.setattr(f"sfs_server.archives.contents.{limit}", len(TREE) - 1)
    answer = await get(service, f"{TOP}?archive=zip")
    assert answer.status == status
    assert ("Retry-After" in answer.headers) == (status == 503)
    assert repr(service.app[ARCHIVES]) == "<Archives kept=0>"


async def test_it_is_watched_like_a_download(service: Service, folder: Path) -> None:
    found = await get(service, f"{TOP}?archive=zip&id=t")
    last = await seen(service.port, "t", bearer())
    assert (last["direction"], last["bytes"], last["total"]) == ("download", *[len(found.body)] * 2)


@asynccontextmanager
async def under_way(service: Service, folder: Path) -> AsyncIterator[tuple[Connection, int]]:
    """The client of an archive of ``folder`` that has started, and the length that it was promised.
    It reads little by itself; the file ``z`` comes last."""
    grow(folder, {"a": bytes(LARGE), "z": b"old"})
    async with connect(service.port, receive_buffer=64 * 1024) as client:
        client.send("GET", f"/storage/default/{folder.name}/?archive=zip&id=t", bearer())
        status, headers = await client.head()
        assert status == 200
        yield client, int(headers["Content-Length"])


def gone(folder: Path) -> None:
    (folder / "z").unlink()


def longer(folder: Path) -> None:
    (folder / "z").write_bytes(b"longer")


def shorter(folder: Path) -> None:
    (folder / "z").write_bytes(b"")


def a_folder(folder: Path) -> None:
    gone(folder)
    (folder / "z").mkdir()


@pytest.mark.parametrize("change", [gone, longer, shorter, a_folder])
async def test_a_change_breaks_it_visibly(
    service: Service, large: Path, change: Callable[[Path], None]
) -> None:
    async with under_way(service, large) as (client, length):
        change(large)
        body = await client.broken_body()
    assert LARGE < len(body) < length
    assert "was changed" in (await seen(service.port, "t", bearer()))["error"]


async def test_what_was_published_meanwhile_is_not_in_it(service: Service, large: Path) -> None:
    async with under_way(service, large) as (client, length):
        (large / "new").write_bytes(b"new")
        (large / "z").write_bytes(b"NEW")  # of the same size: the version when its turn comes
        body = await client.reader.readexactly(length)
    assert unzipped(body) == {"a": bytes(LARGE), "z": b"NEW"}


async def test_nothing_is_kept_of_one_that_was_given_up(service: Service, large: Path) -> None:
    async with under_way(service, large) as (client, _):
        assert repr(service.app[ARCHIVES]) == "<Archives kept=2>"
        client.reset()
    await eventually(lambda: repr(service.app[ARCHIVES]) == "<Archives kept=0>")


async def test_curl_says_that_it_is_broken(service: Service, large: Path, tmp_path: Path) -> None:
    grow(large, {"a": bytes(LARGE), "z": b"old"})
    target = f"http://127.0.0.1:{service.port}/storage/default/{large.name}/?archive=zip"
    archive = tmp_path / "out.zip"
    curl = await asyncio.create_subprocess_exec(
        *(find_program("curl"), "-sS", "--limit-rate", "40M", "-o", archive, target),
        *("-H", f"Authorization: {bearer()['Authorization']}"),
    )
    await eventually(lambda: archive.exists() and archive.stat().st_size > 0)
    (large / "z").unlink()
    assert await curl.wait() in (18, 56)  # the transfer is partial, or the connection was reset
