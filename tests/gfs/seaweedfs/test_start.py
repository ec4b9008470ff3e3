"""Starts on what is no cluster, or on one that refuses us: the error says so at once, in one
sentence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.gfs.cluster import Cluster, require, running

require()

import grpc  # noqa: E402

from gfs.errors import StoreUnavailable  # noqa: E402
from gfs.seaweedfs import filesystem  # noqa: E402
from gfs.seaweedfs.filesystem import SeaweedFileSystem  # noqa: E402
from gfs.seaweedfs.servers import volume  # noqa: E402
from tests.support.client import call  # noqa: E402
from tests.support.launcher import launched  # noqa: E402


@asynccontextmanager
async def stranger(kind: str) -> AsyncIterator[int]:
    """Something on a port, which is no master."""

    writers: list[asyncio.StreamWriter] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if kind == "http":
            await reader.read(1000)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        if kind != "silent":
            writer.close()

    if kind == "grpc":
        server = grpc.aio.server()
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield port
        await server.stop(None)
        return
    listener = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    if kind == "nothing":
        listener.close()
    yield port
    listener.close()
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("http", "something responds, but does not speak gRPC"),
        ("closing", "the connection is closed at once: one side may want TLS and the other not"),
        ("silent", "something listens, but says nothing"),
        ("nothing", "nothing listens there"),
    ],
)
async def test_a_master_that_does_not_speak_grpc_is_reported_after_the_wait(
    kind: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "START_SECONDS", 1.0 if kind != "silent" else 5.0)
    async with stranger(kind) as port:
        with pytest.raises(StoreUnavailable) as caught:
            await SeaweedFileSystem.start(f"127.0.0.1:9.{port}")
    said = str(caught.value)
    assert said.startswith("no SeaweedFS master leads after ")
    assert f"127.0.0.1:9 (gRPC at 127.0.0.1:{port}): {reason}. " in said
    assert said.endswith("unless HOST:PORT.GRPC says where it is")


async def test_another_kind_of_grpc_server_is_reported_at_once_and_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with stranger("grpc") as one, stranger("grpc") as two:
        with pytest.raises(StoreUnavailable, match="this is no SeaweedFS master: ") as caught:
            await SeaweedFileSystem.start(f"127.0.0.1:8.{one},127.0.0.1:9.{two}")
    assert str(caught.value).count("it speaks gRPC, but is another kind of server") == 2
    assert len([one for one in caplog.records if one.name == "gfs.seaweedfs.servers.master"]) == 2


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    """A cluster whose volume servers ask for signatures."""
    settings = {"WEED_JWT_SIGNING_KEY": "to write", "WEED_JWT_SIGNING_READ_KEY": "to read"}
    with running(settings=settings) as cluster:
        yield cluster


async def test_the_servers_of_a_cluster_are_no_masters(guarded: Cluster) -> None:
    for server in (guarded.filer, guarded.volumes[0]):
        with pytest.raises(StoreUnavailable, match="this is no SeaweedFS master"):
            await SeaweedFileSystem.start(server.dotted)


@pytest.mark.parametrize(
    ("read_key", "write_key", "refused"),
    [
        (b"to read", b"to write", None),
        (b"another", b"to write", "reads"),
        (b"to read", b"another", "writes"),
        (None, b"to write", "reads"),
        (b"to read", None, "writes"),
    ],
)
async def test_a_store_whose_keys_differ_is_not_ready(
    guarded: Cluster,
    read_key: bytes | None,
    write_key: bytes | None,
    refused: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fs = await SeaweedFileSystem.start(guarded.masters, read_key=read_key, write_key=write_key)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(fs.close)
        for _ in range(2):
            if refused is None:
                await fs.check()
            else:
                with pytest.raises(StoreUnavailable, match=f"refuses all {refused}"):
                    await fs.check()
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == (refused is not None)


async def test_volume_servers_that_are_silent_are_no_reason(
    guarded: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "ALIVE_SECONDS", 0.2)
    fs = await SeaweedFileSystem.start(guarded.masters)
    for server in guarded.volumes:
        server.stop()
    try:
        await fs.check()
    finally:
        for server in guarded.volumes:
            server.cont()
        await fs.close()


async def test_readiness_reports_that_keys_differ(
    guarded: Cluster, tmp_path: Path, database_url: str
) -> None:
    flags = ["-master", guarded.masters, "-database", database_url]
    keys = {"SFS_GFS_JWT_SIGNING_KEY": "to write", "SFS_GFS_JWT_SIGNING_READ_KEY": "to read"}
    for wrong in (*keys, None):
        env = {**keys, wrong: "another"} if wrong else keys
        async with launched(tmp_path, *flags, env=env) as process:
            ready = await call(process.port, "GET", "/readyz")
            assert (ready.status, ready.json()["checks"]["store"]) == (
                (503, "StoreUnavailable") if wrong else (200, "ok")
            )
