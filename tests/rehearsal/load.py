"""The clients: transfers that take their time, and many small requests of every kind.

Every file has a size and bytes that are known at any time, because one task at a time has its name;
what a request finds must be that. Uploads replace their own file again and again, in versions of
different sizes: whoever looks meanwhile must see one of the two.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

from tests.rehearsal.account import Account, Failed
from tests.rehearsal.pace import PIECE, TRANSFER_SECONDS, paced
from tests.rehearsal.resumable import Resumable
from tests.support.client import Answer, Connection, connect
from tests.support.credentials import bearer

EACH = 10
"""Uploads, downloads, and uploads that can be resumed, that run at any time."""

UPLOAD_BYTES = 9_000_000
"""More than two chunks of the store."""

DOWNLOAD_BYTES = 16_000_000
"""More than what the sockets on the way hold; and what the gateway does not keep."""

PER_SECOND = 50
NAMES = 80
SMALL_BYTES = 30_000
WEIGHTS = {"get": 30, "head": 10, "list": 10, "put": 25, "delete": 10, "status": 5, "peek": 10}
"""Of small requests. ``peek`` looks at a file that is being uploaded."""


class Load:
    """All clients of one gateway."""

    def __init__(self, endpoint: tuple[str, int], secret: str, account: Account) -> None:
        self._endpoint = endpoint
        self._account = account
        self._bearer = bearer(secret=secret)
        self._resumable = Resumable(endpoint, self._bearer, account)
        self._random = random.Random(6)
        self._blob = self._random.randbytes(DOWNLOAD_BYTES)
        self._free = [f"small-{number:03}" for number in range(NAMES)]
        self._small: dict[str, bytes | None] = dict.fromkeys(self._free)
        self._uploaded: dict[str, bytes] = {}
        self._uploading: dict[str, set[int | None]] = {}
        """By name, the sizes that may be seen now; None is that there is no file."""
        self._ending = asyncio.Event()
        self.seconds = 0.0
        """How long small requests were made."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything, while the context is open; at its end transfers finish."""
        await self._put("download", self._blob)
        async with asyncio.TaskGroup() as small:
            began = asyncio.get_running_loop().time()
            requests = small.create_task(self._requests(small))
            async with asyncio.TaskGroup() as transfers:
                for number in range(EACH):
                    await asyncio.sleep(TRANSFER_SECONDS / EACH / 4)  # they do not end all at once
                    transfers.create_task(self._repeat(self._upload, f"upload-{number}"))
                    transfers.create_task(self._repeat(self._resume, f"resumed-{number}"))
                    transfers.create_task(self._repeat(self._download, "download"))
                yield
                self._ending.set()
            requests.cancel()
            self.seconds = asyncio.get_running_loop().time() - began

    async def verify(self) -> None:
        """Hold that exactly what was stored is there, whole."""
        wanted = {name: body for name, body in self._small.items() if body is not None}
        wanted |= self._uploaded | {"download": self._blob}
        for name, body in wanted.items():
            answer = await self._once("GET", name, self._bearer)
            if hashlib.sha256(answer.body).digest() != hashlib.sha256(body).digest():
                self._account.wrong.append(f"{name} has other bytes at the end")
        listed = await self._once("GET", "", {}, target="/storage/files?limit=10000")
        found = {one["name"]: one["size"] for one in listed.json()}
        if found != {name: len(body) for name, body in wanted.items()}:
            self._account.wrong.append(f"what is listed at the end: {found}")

    async def _once(
        self,
        method: str,
        name: str,
        headers: dict[str, str],
        body: bytes = b"",
        target: str = "",
    ) -> Answer:
        """One request on a connection of its own."""
        host, port = self._endpoint
        async with connect(port, host=host) as connection:
            return await connection.ask(method, target or f"/storage/default/{name}", headers, body)

    async def _put(self, name: str, body: bytes) -> None:
        answer = await self._once("PUT", name, self._bearer, body)
        assert answer.status in (200, 201), answer

    # Transfers.

    async def _repeat(self, transfer: Callable[[str, int], Awaitable[None]], name: str) -> None:
        version = 0
        while not self._ending.is_set():
            version += 1
            await transfer(name, version)

    async def _upload(self, name: str, version: int) -> None:
        there = name in self._uploaded

        async def send(body: bytes) -> Answer:
            async def once() -> Answer:
                host, port = self._endpoint
                async with connect(port, host=host) as connection:
                    headers = {**self._bearer, "Content-Length": str(len(body))}
                    connection.send("PUT", f"/storage/default/{name}", headers)
                    await self._send(connection, body)
                    return await connection.answer()

            return await self._account.ask("upload", name, once)

        await self._replace("upload", name, version, send, 200 if there else 201)

    async def _resume(self, name: str, version: int) -> None:
        await self._replace(
            "resumable", name, version, lambda body: self._resumable.upload(name, body), 204
        )

    async def _replace(
        self,
        kind: str,
        name: str,
        version: int,
        send: Callable[[bytes], Awaitable[Answer]],
        status: int,
    ) -> None:
        """Upload a version of a file, to which the response must have ``status``."""
        body = f"{name} {version}\n".encode() * version + self._blob[:UPLOAD_BYTES]
        before = self._uploaded.get(name)
        self._uploading[name] = {len(before) if before else None, len(body)}
        try:
            answer = await send(body)
        except Failed:
            return
        finally:
            self._uploading.pop(name)
        self._account.check(answer.status == status, kind, name, answer)
        self._uploaded[name] = body
        self._account.transfers[kind] += 1
        self._account.bytes["uploaded"] += len(body)

    async def _send(self, connection: Connection, body: bytes) -> None:
        async with aclosing(paced(0, len(body), len(body))) as positions:
            async for position in positions:
                connection.send_raw(body[position : position + PIECE])
                await connection.drain()

    async def _download(self, name: str, version: int) -> None:
        async def once() -> Answer:
            host, port = self._endpoint
            async with connect(port, host=host, receive_buffer=PIECE) as connection:
                connection.send("GET", f"/storage/default/{name}")
                status, headers = await connection.head()
                if status != 200:
                    return Answer(status, headers, await connection.rest())
                digest = hashlib.sha256()
                length = int(headers["Content-Length"])
                async with aclosing(paced(0, length, length)) as positions:
                    async for position in positions:
                        size = min(PIECE, length - position)
                        digest.update(await connection.reader.readexactly(size))
                return Answer(status, headers, digest.digest())

        try:
            answer = await self._account.ask("download", f"{name} {version}", once)
        except Failed:
            return
        good = answer.body == hashlib.sha256(self._blob).digest()
        self._account.check(good, "download", name, answer)
        self._account.transfers["download"] += 1
        self._account.bytes["downloaded"] += DOWNLOAD_BYTES

    # Small requests.

    async def _requests(self, group: asyncio.TaskGroup) -> None:
        """Begin PER_SECOND of them, however long they take."""
        loop = asyncio.get_running_loop()
        began, count = loop.time(), 0
        while True:
            count += 1
            group.create_task(self._request())
            await asyncio.sleep(max(0.0, began + count / PER_SECOND - loop.time()))

    async def _request(self) -> None:
        (kind,) = self._random.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
        if kind == "status" or not self._free:  # a slow machine has so many under way at once
            return await self._status()
        if kind == "peek" and self._uploading:
            return await self._peek(self._random.choice(list(self._uploading)))
        name = self._free.pop(self._random.randrange(len(self._free)))
        try:
            await {
                "get": self._get, "peek": self._get, "head": self._head, "list": self._list,
                "put": self._store, "delete": self._delete,
            }[kind](name)  # fmt: skip
        except Failed:
            pass  # it is in the account
        finally:
            self._free.append(name)

    async def _get(self, name: str) -> None:
        """From the cache of the gateway, or, with a token, never."""
        headers = self._random.choice([{}, self._bearer])
        answer = await self._account.ask("get", name, lambda: self._once("GET", name, headers))
        body = self._small[name]
        good = answer.status == 404 if body is None else answer.body == body
        self._account.check(good, "get", name, answer)

    async def _head(self, name: str) -> None:
        answer = await self._account.ask("head", name, lambda: self._once("HEAD", name, {}))
        body = self._small[name]
        self._account.check(_size(answer) == (body and len(body)), "head", name, answer)

    async def _list(self, name: str) -> None:
        target = f"/storage/files?prefix={name}"
        answer = await self._account.ask(
            "list", name, lambda: self._once("GET", name, {}, target=target)
        )
        body = self._small[name]
        wanted = [] if body is None else [(name, len(body))]
        good = answer.status == 200
        good = good and [(one["name"], one["size"]) for one in answer.json()] == wanted
        self._account.check(good, "list", name, answer)

    async def _store(self, name: str) -> None:
        body = self._random.randbytes(self._random.randrange(1, SMALL_BYTES))
        answer = await self._account.ask(
            "put", name, lambda: self._once("PUT", name, self._bearer, body)
        )
        self._account.check(answer.status in (200, 201), "put", name, answer)
        self._small[name] = body

    async def _delete(self, name: str) -> None:
        there = self._small[name] is not None
        tries = 0

        async def once() -> Answer:
            nonlocal tries
            tries += 1
            return await self._once("DELETE", name, self._bearer)

        answer = await self._account.ask("delete", name, once)
        good = {200, 404} if there and tries == 2 else {200 if there else 404}
        self._account.check(answer.status in good, "delete", name, answer)
        self._small[name] = None

    async def _status(self) -> None:
        try:
            answer = await self._account.ask(
                "status", "", lambda: self._once("GET", "", {}, target="/storage/status")
            )
        except Failed:
            return
        good = answer.status == 200 and answer.json()["engine"] == "seaweedfs"
        self._account.check(good, "status", "", answer)

    async def _peek(self, name: str) -> None:
        """A file that is being uploaded is there as it was, or as it will be, and nothing else."""
        sizes = set(self._uploading[name])
        try:
            answer = await self._account.ask("peek", name, lambda: self._once("HEAD", name, {}))
        except Failed:
            return
        sizes |= self._uploading.get(name, set())  # the next version may have started
        self._account.check(_size(answer) in sizes, "peek", name, answer)


def _size(answer: Answer) -> int | None:
    """Of a file, by an answer to HEAD; None where there is none, -1 for another answer."""
    if answer.status == 404:
        return None
    return int(answer.headers["Content-Length"]) if answer.status == 200 else -1
