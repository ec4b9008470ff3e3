"""Uploads that go wrong on the way: clients that vanish, full disks, rights that change."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gfs.embedded.tree import Draft, Tree
from gfs.types import Published
from sfs_server.auth.access import Namespace
from sfs_server.web.keys import DATABASE, FILESYSTEM, NAMESPACES
from tests.support.client import call, connect
from tests.support.service import Service
from tests.support.uploads import WAYS, begin, nothing_left, request, temporaries, upload, vanish
from tests.support.waiting import eventually

OLD = "/storage/default/old"
NEW = "/storage/default/new"
CONTENT = random.Random(2).randbytes(3000)


async def only_the_old_is_there(service: Service) -> None:
    assert await service.get(OLD) == (200, b"old")
    assert os.listdir(service.data / "files" / "default") == ["old"]


async def send_and_vanish(service: Service, beginnings: list[bytes]) -> None:
    """Send each of these on a connection of its own, wait until all have come, and go: by turns
    with an RST, with a FIN, and with a FIN that leaves the way back open."""
    loop = asyncio.get_running_loop()
    clients = []
    for beginning in beginnings:
        client = socket.socket()
        client.setblocking(False)
        clients.append(client)
        await loop.sock_connect(client, ("127.0.0.1", service.port))
        await loop.sock_sendall(client, beginning)
    await asyncio.sleep(0.1)
    for client in clients[0::3]:
        vanish(client)
    for client in clients[1::3]:
        client.close()
    for client in clients[2::3]:
        client.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.1)
    for client in clients[2::3]:
        client.close()


@pytest.mark.both_loops
async def test_a_client_that_vanishes_at_any_byte_leaves_nothing(service: Service) -> None:
    await service.put(OLD, b"old")
    tasks = asyncio.all_tasks()
    for way in WAYS:
        for target in (OLD, NEW):
            whole = request("PUT", target, way, CONTENT, service.bearer())
            end = whole.index(b"\r\n\r\n") + 4
            # Places in the framing that is not the head, and some in the file.
            places = [*range(end - 3, end + 240, 3), *range(end + 240, len(whole) - 180, 500)]
            places += range(len(whole) - 180, len(whole), 1 + ("multipart" not in way))
            await send_and_vanish(service, [whole[:place] for place in places])
    await nothing_left(service, tasks)
    await only_the_old_is_there(service)


@pytest.mark.both_loops
async def test_a_client_that_vanishes_in_a_large_upload_leaves_nothing(service: Service) -> None:
    await service.put(OLD, b"old")
    tasks = asyncio.all_tasks()
    content = CONTENT * 1000
    for way in WAYS:
        whole = request("PUT", OLD, way, content, service.bearer())
        for length in (len(whole) // 2, len(whole) - 1):
            async with connect(service.port) as connection:
                connection.send_raw(whole[:length])
                await eventually(lambda: temporaries(service) != [])
                connection.reset()
    await nothing_left(service, tasks)
    await only_the_old_is_there(service)


@pytest.mark.both_loops
async def test_a_client_that_vanishes_during_the_commit_has_published_all_or_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put(OLD, b"old")
    tasks = asyncio.all_tasks()
    publish, began, may = Tree.publish, threading.Event(), threading.Event()

    def slow(self: Tree, draft: Draft) -> Published:
        began.set()
        may.wait(10)
        return publish(self, draft)

    monkeypatch.setattr(Tree, "publish", slow)
    for number in range(4):
        content = CONTENT + bytes([number])
        began.clear()
        may.clear()
        async with connect(service.port) as connection:
            connection.send_raw(request("PUT", OLD, "raw", content, service.bearer()))
            await eventually(began.is_set)
            connection.reset()
        await asyncio.sleep(0.05)
        status, found = await service.get(OLD)
        assert status == 200
        assert found != content  # not yet
        may.set()
        await nothing_left(service, tasks)
        # The commit had started, and is finished whoever listens.
        assert await service.get(OLD) == (200, content)


def fail(count: int, code: int) -> Callable[[], None]:
    """Raise OSError(code) at every call after the first ``count``."""
    calls = [0]

    def check() -> None:
        calls[0] += 1
        if calls[0] > count:
            raise OSError(code, os.strerror(code), "/secret/path")

    return check


@pytest.mark.parametrize(
    ("code", "status"),
    [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503), (errno.EROFS, 500)],
)
async def test_a_disk_that_fails_stores_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, code: int, status: int
) -> None:
    await service.put(OLD, b"old")
    tasks = asyncio.all_tasks()
    writev, fsync, link_, rename = os.writev, os.fsync, os.link, os.rename

    def failing_writev(descriptor: int, pieces: list[bytes]) -> int:
        check()
        return writev(descriptor, pieces)

    def failing_fsync(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            check()
        fsync(descriptor)

    def failing_link(*args: object, **options: object) -> None:
        check()
        link_(*args, **options)  # type: ignore[arg-type]

    def failing_rename(*args: object, **options: object) -> None:
        check()
        rename(*args, **options)  # type: ignore[arg-type]

    for name, sabotaged, after in (
        ("writev", failing_writev, 0),
        ("writev", failing_writev, 3),
        ("fsync", failing_fsync, 0),
        ("rename", failing_rename, 0),
        ("link", failing_link, 0),
    ):
        for way in WAYS:
            check = fail(after, code)
            method, target = ("POST", NEW) if name == "link" else ("PUT", OLD)
            with monkeypatch.context() as patch:
                patch.setattr(os, name, sabotaged)
                answer = await upload(service, method, target, CONTENT * 1000, way)
            assert answer.status == status, (name, way)
            assert ("Retry-After" in answer.headers) == (status == 503)
            assert "secret" not in answer.problem()
    await nothing_left(service, tasks)
    await only_the_old_is_there(service)
    assert (await upload(service, "PUT", OLD, b"later")).status == 200


async def test_a_write_that_takes_only_a_part_is_gone_on_with(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(descriptor: int, pieces: list[bytes]) -> int:
        return os.write(descriptor, pieces[0][: max(1, len(pieces[0]) // 3)])

    monkeypatch.setattr(os, "writev", some)
    content = CONTENT * 300
    for way in WAYS:
        assert (await upload(service, "PUT", NEW, content, way)).status in (200, 201)
        assert await service.get(NEW) == (200, content)


async def shared_namespace(service: Service) -> Namespace:
    made = await service.app[NAMESPACES].create("shared", hidden=False, owner=None)
    await service.app[FILESYSTEM].make_directory("shared")
    return made


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("UPDATE namespaces SET hidden = true WHERE name = 'shared'", 404),
        ("UPDATE namespaces SET owner = 'bob' WHERE name = 'shared'", 404),
        ("DELETE FROM namespaces WHERE name = 'shared'", 404),
    ],
)
async def test_rights_are_asked_again_at_the_end(service: Service, sql: str, status: int) -> None:
    await shared_namespace(service)
    tasks = asyncio.all_tasks()
    async with connect(service.port) as connection:
        rest = await begin(service, connection, "PUT", "/storage/shared/a", CONTENT)
        await service.app[DATABASE].fetch(sql)
        connection.send_raw(rest)
        answer = await connection.answer()
    assert answer.status == status
    none = await upload(service, "PUT", "/storage/none/a", CONTENT)
    assert (answer.status, answer.body) == (none.status, none.body)
    await nothing_left(service, tasks)
    assert os.listdir(service.data / "files" / "shared") == []


async def test_who_may_still_do_it_at_the_end_has_done_it(service: Service) -> None:
    shared = await shared_namespace(service)
    async with connect(service.port) as connection:
        admin = service.bearer("root", admin=True)
        rest = await begin(service, connection, "PUT", "/storage/shared/a", CONTENT, admin)
        await service.app[NAMESPACES].update(shared, hidden=True)
        connection.send_raw(rest)
        assert (await connection.answer()).status == 201


async def test_a_namespace_deleted_meanwhile_does_not_come_back(service: Service) -> None:
    await shared_namespace(service)
    tasks = asyncio.all_tasks()
    async with connect(service.port) as connection:
        rest = await begin(service, connection, "POST", "/storage/shared/a", CONTENT)
        admin = service.bearer("root", admin=True)
        deleted = await call(service.port, "DELETE", "/storage/namespaces/shared", admin)
        assert deleted.status == 200
        connection.send_raw(rest)
        assert (await connection.answer()).status == 404
    await nothing_left(service, tasks)
    assert not (service.data / "files" / "shared").exists()


async def test_a_directory_that_was_lost_is_made_again(service: Service) -> None:
    await shared_namespace(service)
    Path(service.data / "files" / "shared").rmdir()
    assert (await upload(service, "POST", "/storage/shared/a", CONTENT)).status == 201
    assert await service.get("/storage/shared/a", service.bearer()) == (200, CONTENT)
