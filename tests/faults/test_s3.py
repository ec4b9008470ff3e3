"""The S3 gateway of SeaweedFS and the service show each other's files: a bucket is a namespace."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from manifests.laptop.server import Server, responds
from manifests.laptop.weed import Ports, free_ports, program
from tests.faults.transfers import Ledger, download, serving, sha256, some_bytes, upload
from tests.gfs.cluster import Cluster, cluster, seaweed
from tests.support.client import call
from tests.support.credentials import bearer
from tests.support.launcher import Process

__all__ = ["cluster", "seaweed"]

pytestmark = pytest.mark.timeout(120)

PREFIX = "/buckets"
MIB = 1024 * 1024
SECONDS = 20.0


class S3(Server):
    """``weed s3``; without a configuration it lets everybody in, signed or not."""

    def __init__(self, home: Path, filer: str) -> None:
        ports = Ports(*free_ports(2))
        weed = program()
        assert weed is not None
        self.url = f"http://127.0.0.1:{ports.http}"
        command = [
            *(weed, "-logtostderr=true", "s3", "-ip.bind=127.0.0.1", f"-filer={filer}"),
            *(f"-port={ports.http}", f"-port.grpc={ports.grpc}", "-localSocket=s3.sock"),
            *("-port.iceberg=0", "-port.lance=0"),
        ]
        super().__init__(home, command, {}, partial(responds, f"{self.url}/healthz"))


@pytest.fixture
def gateway(cluster: Cluster, tmp_path: Path) -> Iterator[S3]:
    home = tmp_path / "s3"
    home.mkdir()
    s3 = S3(home, cluster.filer.dotted)
    s3.start()
    try:
        s3.wait_until_ready()
        yield s3
    finally:
        s3.kill()


@pytest.fixture
def sfs(cluster: Cluster, database_url: str, tmp_path: Path) -> Iterator[Process]:
    flags = ("-prefix", PREFIX)
    with serving(tmp_path, cluster.masters, database_url, *flags) as (process,):
        yield process


@dataclass
class Bucket:
    """The bucket ``default``, over S3's own protocol."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, key: str, body: bytes = b"", query: str = "") -> bytes:
        """The body of an answer that must be 2xx."""
        url = f"{self.url}/{quote(key)}{query}"
        async with self.session.request(method, url, data=io.BytesIO(body)) as answer:
            received = await answer.read()
            assert answer.status in (200, 204), (method, key, answer.status, received)
            return received

    async def put_parts(self, key: str, parts: list[bytes]) -> None:
        """Upload in parts, as clients do with what is large."""
        started = (await self.ask("POST", key, query="?uploads")).decode()
        found = re.search("<UploadId>([^<]+)</UploadId>", started)
        assert found is not None, started
        query = f"uploadId={found.group(1)}"
        tags = []
        for number, part in enumerate(parts, 1):
            url = f"{self.url}/{quote(key)}?partNumber={number}&{query}"
            async with self.session.put(url, data=io.BytesIO(part)) as answer:
                assert answer.status == 200
                tags.append(answer.headers["ETag"])
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(tags, 1)
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
        await self.ask("POST", key, body.encode(), f"?{query}")


@pytest.fixture
async def bucket(sfs: Process, gateway: S3) -> AsyncIterator[Bucket]:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Bucket(session, f"{gateway.url}/default")


async def listed(sfs: Process) -> dict[str, int]:
    """Name and size of each file that the service lists."""
    files = (await call(sfs.port, "GET", "/storage/files")).json()
    return {file["name"]: file["size"] for file in files}


FILES = {
    "empty": b"",
    "small ü +%.txt": b"hello",
    "page": some_bytes(70_000, 1),
    "one put.bin": some_bytes(20_000_001, 2),
    "a folder/ü/inner": some_bytes(30_000, 3),
}


async def test_what_s3_writes_the_service_lists_and_serves(
    sfs: Process, bucket: Bucket, ledger: Ledger
) -> None:
    with ledger.loop("S3 writes, the service reads") as loop:
        for name, data in FILES.items():
            with loop.transfer(2 * len(data)):
                await bucket.ask("PUT", name, data)
                assert await download(sfs.port, f"/storage/default/{quote(name)}") == data
        parts = [some_bytes(size, size) for size in (9 * MIB, 5 * MIB, 12 * MIB, 77)]
        whole = b"".join(parts)
        with loop.transfer(2 * len(whole)):
            await bucket.put_parts("parts", parts)
            got = await download(sfs.port, "/storage/default/parts")
            assert sha256(got) == sha256(whole)
        for start, end in ((0, 1), (9 * MIB - 3, 9 * MIB + 3), (14 * MIB, len(whole))):
            with loop.transfer(end - start):
                range_ = f"bytes={start}-{end - 1}"
                got = await download(sfs.port, "/storage/default/parts", range_=range_)
                assert got == whole[start:end]
        sizes = {name: len(data) for name, data in FILES.items()}
        assert await listed(sfs) == {**sizes, "parts": len(whole)}
        for name in (*FILES, "parts"):
            await bucket.ask("DELETE", name)
        await asyncio.sleep(0.1)  # the filer tells of it
        assert await listed(sfs) == {}


async def test_what_the_service_writes_s3_and_the_filer_serve(
    sfs: Process, bucket: Bucket, cluster: Cluster, ledger: Ledger
) -> None:
    with ledger.loop("the service writes, S3 and the filer read") as loop:
        for name, data in FILES.items():
            with loop.transfer(3 * len(data)):
                path = quote(name)
                answer = await upload(sfs.port, f"/storage/default/{path}", data)
                assert answer.status in (200, 201)
                assert sha256(await bucket.ask("GET", name)) == sha256(data)
                assert cluster.sha256(f"{PREFIX}/default/{path}") == sha256(data)
        keys = (await bucket.ask("GET", "", query="?list-type=2")).decode()
        assert set(re.findall("<Key>([^<]+)</Key>", keys)) == set(FILES)
        for name in FILES:
            target = f"/storage/default/{quote(name)}"
            assert (await call(sfs.port, "DELETE", target, bearer())).status == 200
        keys = (await bucket.ask("GET", "", query="?list-type=2")).decode()
        assert "<Key>" not in keys
