"""What a change of a folder, or a move, evicts: the files below it, at both ends."""

from __future__ import annotations

from itertools import count

import pytest

from tests.gateway.conftest import STORABLE, Gateway, Recorder, from_cache
from tests.support.client import Answer, call, connect

_numbers = count()


@pytest.fixture
async def top(recorder: Recorder) -> str:
    """The path of a folder in a namespace that no other test has; in it ``a/b/file`` is stored."""
    top = f"/storage/folders-{next(_numbers)}/top"
    recorder.answer = STORABLE
    for stored in (False, True):
        assert from_cache(await get(recorder, f"{top}/a/b/file")) == stored
    return top


async def get(recorder: Recorder, path: str) -> Answer:
    return await call(recorder.gateway_port, "GET", path)


async def move(recorder: Recorder, path: str, destination: str) -> None:
    moved = await call(recorder.gateway_port, "MOVE", path, {"Destination": destination})
    assert moved.status == 200


@pytest.mark.parametrize("method", ["DELETE", "MOVE", "MKCOL"])
@pytest.mark.parametrize(
    ("changed", "evicted"),
    [
        ("/a/b/file", True),
        ("/a/b/", True),
        ("/a/b", True),
        ("/a/", True),
        ("/%61/./b/", True),
        ("/", True),
        ("/a/b/other", False),
        ("/a/bb/", False),
        ("/a/b/file/x", False),
        ("/b/", False),
    ],
)
async def test_a_change_evicts_what_is_below_it_and_nothing_else(
    recorder: Recorder, top: str, method: str, changed: str, evicted: bool
) -> None:
    assert (await call(recorder.gateway_port, method, f"{top}{changed}")).status == 200
    assert from_cache(await get(recorder, f"{top}/a/b/file")) != evicted
    assert from_cache(await get(recorder, f"{top}/a/b/file"))


async def test_a_change_of_the_top_folder_evicts_the_namespace(
    recorder: Recorder, top: str
) -> None:
    namespace = top.rpartition("/")[0]
    assert (await call(recorder.gateway_port, "DELETE", f"{namespace}/")).status == 200
    assert not from_cache(await get(recorder, f"{top}/a/b/file"))


@pytest.mark.parametrize(
    "spelling",
    [
        "{top}/a/b/file",
        "{top}/a/b/",
        "{top}/a",
        "{top}/%61/b",
        "/storage/./{namespace}/top/a/./b",
        "/%73torage/{namespace}/top/a",
        "http://sfs.example{top}/a/b",
        "HTTPS://user@sfs.example:8443{top}/a/b/#x",
        "{top}/a/b?x=y",
    ],
)
async def test_a_move_evicts_where_it_goes_to_however_that_is_spelt(
    recorder: Recorder, top: str, spelling: str
) -> None:
    namespace = top.split("/")[2]
    await move(recorder, f"{top}/source", spelling.format(top=top, namespace=namespace))
    assert not from_cache(await get(recorder, f"{top}/a/b/file"))


async def test_a_move_elsewhere_evicts_nothing_else(recorder: Recorder, top: str) -> None:
    await move(recorder, f"{top}/source", f"{top}/target/")
    assert from_cache(await get(recorder, f"{top}/a/b/file"))


@pytest.mark.parametrize("ends", [("a/", "c/"), ("c/", "a/")])
async def test_a_move_whose_answer_was_lost_evicts_both_ends(
    recorder: Recorder, top: str, ends: tuple[str, str]
) -> None:
    source, target = (f"{top}/{end}" for end in ends)
    recorder.dies = True
    lost = await call(recorder.gateway_port, "MOVE", source, {"Destination": target})
    assert lost.status == 502
    recorder.dies = False
    assert not from_cache(await get(recorder, f"{top}/a/b/file"))


async def test_a_refused_move_evicts_neither_end(recorder: Recorder, top: str) -> None:
    recorder.answer = b"HTTP/1.1 412 No\r\nContent-Length: 0\r\n\r\n"
    for ends in (("a/", "c/"), ("c/", "a/")):
        source, target = (f"{top}/{end}" for end in ends)
        refused = await call(recorder.gateway_port, "MOVE", source, {"Destination": target})
        assert refused.status == 412
    recorder.answer = STORABLE
    assert from_cache(await get(recorder, f"{top}/a/b/file"))


async def test_what_is_below_a_changed_folder_is_asked_for_anew(
    recorder: Recorder, top: str
) -> None:
    """Whichever process of SFS responds, it may not have been notified of the change."""
    await move(recorder, f"{top}/a/", f"{top}/c/d/")
    recorder.heads.clear()
    asked = {
        "a/b/file": True,
        "a/": True,
        "c/d/b/file": True,
        "c/d/": True,
        "c/file": False,
        "": False,
    }
    async with connect(recorder.gateway_port) as client:
        for path in asked:
            await client.ask("GET", f"{top}/{path}", {"Authorization": "Bearer x"})
    heads = range(len(asked))
    assert ["Cache-Control" in recorder.fields(number) for number in heads] == list(asked.values())


@pytest.mark.parametrize(
    ("location", "evicted"),
    [
        ("{top}/a/b/file", True),
        ("{top}/a/", True),
        ("{top}/c", False),
        ("//other.example{top}/a", False),
        ("https://other.example{top}/a", False),
    ],
)
async def test_what_a_change_names_as_its_content_location_is_evicted(
    recorder: Recorder, top: str, location: str, evicted: bool
) -> None:
    """RFC 9111 §4.4: of the same origin alone."""
    field = f"Content-Location: {location.format(top=top)}"
    recorder.answer = f"HTTP/1.1 204 Done\r\n{field}\r\n\r\n".encode()
    changed = await call(recorder.gateway_port, "PATCH", "/storage/uploads/1", {}, b"x")
    assert changed.status == 204
    recorder.answer = STORABLE
    assert from_cache(await get(recorder, f"{top}/a/b/file")) != evicted


async def test_a_folder_is_never_stored_whatever_sfs_calls_it(recorder: Recorder, top: str) -> None:
    for path in (f"{top}/a/", f"{top}/a/b/", top.removesuffix("top")):
        for _ in range(2):
            assert not from_cache(await get(recorder, path))
    recorder.answer = STORABLE.replace(b"200 OK", b"301 Moved Permanently\r\nLocation: a/")
    for _ in range(2):
        assert not from_cache(await get(recorder, f"{top}/a/b"))


async def test_a_path_has_as_many_generations_as_segments(recorder: Recorder, top: str) -> None:
    """SFS refuses more than 32 segments; the gateway leaves them to it."""
    deepest = "/".join([top, *"x" * 31])
    paths = [deepest, f"{deepest}/x"]
    for path in paths:
        assert not from_cache(await get(recorder, path))
    assert [from_cache(await get(recorder, path)) for path in paths] == [True, False]
    assert (await call(recorder.gateway_port, "DELETE", f"{top}/x/")).status == 200
    assert not from_cache(await get(recorder, paths[0]))


async def _move(gateway: Gateway, path: str, destination: str, **fields: str) -> int:
    headers = {**gateway.bearer(), "Destination": destination, **fields}
    return (await call(gateway.port, "MOVE", path, headers)).status


@pytest.fixture
async def stored(gateway: Gateway) -> str:
    """The path of a folder of a real service; the view and the download of ``a/b/file`` in it are
    stored."""
    top = f"/storage/default/real-{next(_numbers)}"
    await gateway.put(f"{top}/a/b/file", b"first")
    for view in (top, top.replace("/storage", "/storage/download")):
        assert (await gateway.stored(f"{view}/a/b/file")).body == b"first"
    return top


@pytest.mark.parametrize("view", ["/storage", "/storage/download"])
async def test_a_moved_folder_is_seen_where_it_is_by_all(
    gateway: Gateway, stored: str, view: str
) -> None:
    """Whichever process responds: they are asked in turns."""
    shown = stored.replace("/storage", view)
    for ends in (("a", "c"), ("c", "a"), ("a", "d"), ("d", "c")):
        source, target = (f"{stored}/{end}/" for end in ends)
        assert await _move(gateway, source, f"http://sfs.example{target}") == 201
        for _ in range(4):
            assert (await gateway.get(f"{shown}/{ends[0]}/b/file")).status == 404
            assert (await gateway.get(f"{shown}/{ends[1]}/b/file")).body == b"first"
    assert (await gateway.stored(f"{shown}/c/b/file")).body == b"first"


async def test_what_a_moved_folder_replaced_is_evicted(gateway: Gateway, stored: str) -> None:
    await gateway.put(f"{stored}/new/b/file", b"second")
    assert (await gateway.stored(f"{stored}/new/b/file")).body == b"second"
    assert await _move(gateway, f"{stored}/new/", f"{stored}/a/", Overwrite="F") == 412
    assert from_cache(await gateway.get(f"{stored}/a/b/file"))
    assert await _move(gateway, f"{stored}/new/", f"{stored}/a/") == 204
    assert (await gateway.get(f"{stored}/a/b/file")).body == b"second"
    assert (await gateway.get(f"{stored}/new/b/file")).status == 404


async def test_a_moved_file_is_seen_at_its_new_path_alone(gateway: Gateway, stored: str) -> None:
    await gateway.put(f"{stored}/x", b"second")
    await gateway.stored(f"{stored}/x")
    assert await _move(gateway, f"{stored}/x", f"{stored}/a/b/file") == 204
    assert (await gateway.get(f"{stored}/a/b/file")).body == b"second"
    assert (await gateway.get(f"{stored}/x")).status == 404
    assert await _move(gateway, f"{stored}/x", "https://other.example/storage/default/y") == 502


@pytest.mark.parametrize("path", ["a/", "a/b/", "%61/./"])
async def test_a_deleted_folder_is_gone_and_what_comes_anew_is_seen(
    gateway: Gateway, stored: str, path: str
) -> None:
    await gateway.delete(f"{stored}/{path}")
    for _ in range(4):
        assert (await gateway.get(f"{stored}/a/b/file")).status == 404
        assert (await gateway.get(f"{stored}/a/b/")).status == 404
    made = await call(gateway.port, "MKCOL", f"{stored}/a/b/", gateway.bearer())
    assert made.status == 201
    for _ in range(4):
        assert (await gateway.get(f"{stored}/a/b/")).status == 200
    await gateway.put(f"{stored}/a/b/file", b"again")
    for _ in range(4):
        assert (await gateway.get(f"{stored}/a/b/file")).body == b"again"


async def test_folders_lists_and_archives_are_never_from_the_cache(
    gateway: Gateway, stored: str
) -> None:
    namespace = stored.split("/")[2]
    for target in (
        f"{stored}/a/",
        f"{stored}/a",
        f"{stored}/a/?archive=zip",
        f"/storage/{namespace}/",
        f"/storage/files?namespace={namespace}&folder=",
    ):
        for _ in range(3):
            answer = await gateway.get(target)
            assert answer.status == (301 if target.endswith("/a") else 200)
            assert not from_cache(answer)
            assert "s-maxage" not in answer.headers.get("Cache-Control", "")
