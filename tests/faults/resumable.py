"""Uploads by tus 1.0.0 whose client goes on after every failure, the processes that it goes to, and
an account of what it has to send again.

After a failure of whatever kind the client asks the next process by HEAD where to go on, and sends
the rest by PATCH to the one after that: an upload passes through all processes.

*What is lost with a process.* What a client has sent is in three places when a process is killed:
durable, as the next HEAD says; with the process; or in the queues of the kernel, which may have
many megabytes that no process has seen. The first two have arrived. To know the third, the process
is frozen before it is killed, and the kernel is asked for the queues (/proc/net/tcp, proc(5)).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import signal
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sfs_server.http import tus
from tests.support.client import MIB, Answer, Connection, connect, encode
from tests.support.credentials import bearer
from tests.support.launcher import Process
from tests.support.programs import freeze
from tests.support.waiting import eventually

PIECE = 64 * 1024
STALL_SECONDS = 10.0
"""After so long without progress a client gives a request up."""

PUBLISH_SECONDS = 60.0
"""So long it waits for the response when all has been sent."""

GIVE_UP_SECONDS = 180.0
"""So long it asks in vain before the test fails: the database releases the locks of a process that
is frozen after 120 s."""

PAUSE_SECONDS = 0.1
"""Of a client, after a failure."""

PROMISED_BYTES = 4 * MIB
PROMISED_SECONDS = 1.0
"""What has to be sent again is at most PROMISED_BYTES, or what arrived within PROMISED_SECONDS."""

NOTED_BYTES = MIB
"""The service notes only so often when bytes have come."""

KILL_SECONDS = 2.0
SAMPLE_SECONDS = 0.1
SAMPLES = 100

VERSION = {"Tus-Resumable": tus.VERSION}

FAILURES = (OSError, asyncio.IncompleteReadError)


def random_bytes(size: int) -> bytes:
    """Others each time; three times as fast as ``os.urandom``."""
    cipher = Cipher(algorithms.AES(os.urandom(16)), modes.CTR(os.urandom(16)))
    return cipher.encryptor().update(bytes(size))


class Fleet:
    """Processes of the service on one store and one database, some of which may be down. The logs
    of those that have ended are in ``home``."""

    def __init__(self, home: Path, *arguments: str, count: int) -> None:
        self._home = home
        self._arguments = arguments
        self._processes: list[Process] = []
        self._starting: list[Future[None]] = []
        self._starter = ThreadPoolExecutor(count)
        self._frozen: set[Process] = set()
        self.count = count
        self._ended = 0

    def __enter__(self) -> Self:
        try:
            for number in range(self.count):
                self._processes.append(self._start(number))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._starter.shutdown()
        for process in self._processes:
            self._end(process)

    @property
    def living(self) -> list[Process]:
        """Those that serve."""
        return [one for one in self._processes if one.alive and one not in self._frozen]

    async def one(self, turn: int) -> Process:
        """One of those that serve, each in its turn."""
        living: list[Process] = await eventually(lambda: self.living, GIVE_UP_SECONDS)
        return living[turn % len(living)]

    def freeze(self, process: Process) -> None:
        self._frozen.add(process)
        freeze(process.pid)

    def thaw(self, process: Process) -> None:
        process.signal(signal.SIGCONT)
        self._frozen.discard(process)

    def kill(self, process: Process) -> None:
        """Kill it, and start it again in the background."""
        number = self._processes.index(process)
        self._end(process)

        def start() -> None:
            self._processes[number] = self._start(number)

        self._starting.append(self._starter.submit(start))

    async def whole(self) -> None:
        """Wait until all serve that have been started again."""
        starting, self._starting = self._starting, []
        await asyncio.gather(*map(asyncio.wrap_future, starting))

    def _start(self, number: int) -> Process:
        return Process(self._home / f"sfs{number}", *self._arguments, "-log-format", "json")

    def _end(self, process: Process) -> None:
        if process.alive:
            process.kill()
            self._ended += 1
            (self._home / f"process{self._ended}.log").write_text(process.log)


@dataclass
class Sending:
    """A PATCH under way."""

    process: Process
    connection: Connection
    position: int
    """How far the client is, in the file."""

    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    """When how much of the file had arrived."""

    def __post_init__(self) -> None:
        self.samples.append((time.monotonic(), self.position))

    def arrived(self, table: Queues) -> int:
        """How much of the file the process has, or had: all but what is in a queue."""
        client, server = self.connection.port, self.process.port
        queued = table.get((client, server), (0, 0))[0] + table.get((server, client), (0, 0))[1]
        return self.position - self.connection.waiting - queued

    def since(self, seconds: float) -> int:
        """How much of the file had arrived so many seconds ago, or at the start."""
        until = time.monotonic() - seconds
        before = [done for when, done in self.samples if when <= until]
        return before[-1] if before else self.samples[0][1]

    def burst(self, arrived: int) -> int:
        """The most that had arrived within PROMISED_SECONDS, until ``arrived`` now."""
        found = [*self.samples, (time.monotonic(), arrived)]
        window = PROMISED_SECONDS + 2 * SAMPLE_SECONDS  # samples are not where it starts and ends
        return max(
            done - next(before for then, before in found if when - then <= window)
            for when, done in found
        )


Queues = dict[tuple[int, int], tuple[int, int]]
"""Port of one end and of the other → bytes that are still to be received there, and to be read
here."""


def queues() -> Queues:
    """The queues of the connections of this machine."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        own, other = (int(address.partition(":")[2], 16) for address in words[1:3])
        waiting, unread = (int(size, 16) for size in words[4].split(":"))
        found[own, other] = waiting, unread
    return found


class Once:
    """Calls ``what`` once: when it is called itself with ``at`` or more."""

    def __init__(self, at: int, what: Callable[[], object]) -> None:
        self._at = at
        self._what = what
        self.done = False

    def __call__(self, position: int) -> None:
        if not self.done and position >= self._at:
            self.done = True
            self._what()


@dataclass(frozen=True)
class Loss:
    """What one kill has cost one upload, in bytes."""

    sent: int
    """What the client has to send again."""

    arrived: int
    """How much of it the process had."""

    lately: int
    """How much the process had received in the last PROMISED_SECONDS."""

    burst: int
    """The most that it had received within so long at any time, as far as that was sampled."""

    @property
    def promised(self) -> bool:
        """Whether it is no more than was promised."""
        return self.arrived <= max(PROMISED_BYTES, self.burst) + NOTED_BYTES


class Upload:
    """An upload of ``data`` to ``path``, and its client. ``turn`` is the process that it starts
    with, ``rate`` the most that it sends in a second. The statuses of responses to PATCH are
    counted in ``statuses``, 0 for none."""

    def __init__(
        self, fleet: Fleet, path: str, data: bytes, turn: int = 0, rate: float = math.inf
    ) -> None:
        self.path = path
        self.data = data
        self.location = ""
        self.sending: Sending | None = None
        self.losses: list[Loss] = []
        self.statuses: Counter[int] = Counter()
        self._fleet = fleet
        self._turn = turn
        self._rate = rate
        self._struck: tuple[Sending, int, int, int] | None = None

    async def run(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Upload it, until it is published. ``progress`` is called with the position after each
        piece."""
        await self.create()
        if not await self.patch(await self._next(), 0, progress):
            await self.go_on(progress)

    async def go_on(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Upload the rest, until it is published."""
        while not await self.patch(await self._next(), await self.offset(), progress):
            await asyncio.sleep(PAUSE_SECONDS)

    @property
    def id(self) -> str:
        return self.location.rpartition("/")[2]

    async def create(self) -> None:
        """Start it."""
        fields = {**VERSION, "Upload-Length": str(len(self.data))}
        answer = await self._ask("POST", self.path, fields)
        assert answer.status == 201, answer
        self.location = urlsplit(answer.headers["Location"]).path

    async def offset(self, process: Process | None = None) -> int:
        """Where to go on, as ``process`` says, or whichever is the next."""
        answer = await self._ask("HEAD", self.location, VERSION, process=process)
        assert answer.status == 200, answer
        found = int(answer.headers["Upload-Offset"])
        if self._struck is not None:
            sending, arrived, lately, burst = self._struck
            assert found <= sending.position
            lost = max(arrived - found, 0)
            self.losses.append(Loss(sending.position - found, lost, lately, burst))
            self._struck = None
        return found

    async def patch(
        self,
        process: Process,
        offset: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> bool:
        """Send the rest to one process; whether it was published."""
        fields = patch_fields(offset, len(self.data) - offset)
        try:
            async with connect(process.port) as connection:
                self.sending = Sending(process, connection, offset)
                connection.send_raw(encode("PATCH", self.location, fields))
                async with self._feeding(self.sending, progress):
                    status, headers = await connection.head(seconds=None)
        except FAILURES:
            status, headers = 0, None
        finally:
            self.sending = None
        self.statuses[status] += 1
        assert status in (0, 204, 503), (status, headers)
        if status != 204:
            return False
        assert headers is not None
        assert headers["Upload-Offset"] == str(len(self.data))
        assert headers["ETag"]
        return True

    async def delete(self) -> None:
        """Delete the file."""
        answer = await self._ask("DELETE", self.path)
        assert answer.status == 200, answer

    async def replace(self, data: bytes) -> None:
        """Replace the file, in one request."""
        self.data = data
        answer = await self._ask("PUT", self.path, body=data)
        assert answer.status == 200, answer

    async def is_right(self) -> bool:
        """Whether the file has the digest of what was uploaded."""
        expected = await asyncio.to_thread(hashlib.sha256, self.data)
        size, digest = await downloaded(await self._next(), self.path)
        return (size, digest) == (len(self.data), expected.digest())

    def strike(self, process: Process, table: Queues) -> None:
        """A process is about to be killed, and frozen already."""
        sending = self.sending
        if sending is not None and sending.process is process:
            arrived = sending.arrived(table)
            lately = arrived - sending.since(PROMISED_SECONDS)
            self._struck = sending, arrived, lately, sending.burst(arrived)

    async def _next(self) -> Process:
        self._turn += 1
        return await self._fleet.one(self._turn)

    async def _ask(
        self,
        method: str,
        target: str,
        more: dict[str, str] | None = None,
        *,
        process: Process | None = None,
        body: bytes = b"",
    ) -> Answer:
        """The response of ``process``, or of each in its turn, until one is available."""
        fields = {**bearer(), **(more or {})}
        async with asyncio.timeout(GIVE_UP_SECONDS):
            while True:
                port = (process or await self._next()).port
                with suppress(*FAILURES):
                    async with asyncio.timeout(STALL_SECONDS), connect(port) as connection:
                        answer = await connection.ask(method, target, fields, body)
                        if answer.status != 503:
                            return answer
                await asyncio.sleep(PAUSE_SECONDS)

    @asynccontextmanager
    async def _feeding(
        self, sending: Sending, progress: Callable[[int], None]
    ) -> AsyncIterator[None]:
        """Send the rest while the body waits for the response. The connection is given up when
        that does not get on."""

        async def feed() -> None:
            view = memoryview(self.data)
            connection, size = sending.connection, len(self.data)
            started, first = time.monotonic(), sending.position
            with suppress(*FAILURES):
                while sending.position < size:
                    async with asyncio.timeout(STALL_SECONDS):
                        connection.send_raw(view[sending.position : sending.position + PIECE])
                        sending.position = min(sending.position + PIECE, size)
                        progress(sending.position)
                        await connection.drain()
                    due = started + (sending.position - first) / self._rate
                    await asyncio.sleep(due - time.monotonic())
                await asyncio.sleep(PUBLISH_SECONDS)
            connection.reset()

        task = asyncio.create_task(feed())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def patch_fields(offset: int, length: int) -> dict[str, str]:
    """The fields of a PATCH of so many bytes."""
    return {
        **bearer(),
        **VERSION,
        "Content-Type": tus.CONTENT_TYPE,
        "Upload-Offset": str(offset),
        "Content-Length": str(length),
    }


async def downloaded(process: Process, path: str) -> tuple[int, bytes]:
    """The size and the SHA-256 of what a process sends of a file."""
    digest, size = hashlib.sha256(), 0
    async with connect(process.port) as connection:
        connection.send("GET", path, {**bearer(), "Cache-Control": "no-cache"})
        status, headers = await connection.head()
        assert status == 200, (status, headers)
        while size < int(headers["Content-Length"]):
            async with asyncio.timeout(STALL_SECONDS):
                piece = await connection.reader.read(MIB)
            assert piece, f"the body ends after {size} bytes"
            size += len(piece)
            digest.update(piece)
    return size, digest.digest()


async def feed(connection: Connection, data: bytes) -> None:
    view = memoryview(data)
    for start in range(0, len(data), PIECE):
        connection.send_raw(view[start : start + PIECE])
        await connection.drain()


class Killer:
    """Kills every KILL_SECONDS whichever process has the most of ``uploads``, while it is run; but
    not the last one of several, where a busy machine takes long to start them again."""

    def __init__(self, fleet: Fleet) -> None:
        self.uploads: list[Upload] = []
        self.kills = 0
        self._fleet = fleet

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sample())
            group.create_task(self._kill())

    async def _kill(self) -> None:
        while True:
            await asyncio.sleep(KILL_SECONDS)
            living = self._fleet.living
            sending = [one.sending for one in self.uploads if one.sending is not None]
            have = Counter(one.process for one in sending if one.process in living)
            if have and len(living) >= min(self._fleet.count, 2):
                (process, _), *_ = have.most_common()
                self._fleet.freeze(process)
                table = queues()
                for upload in self.uploads:
                    upload.strike(process, table)
                self._fleet.kill(process)
                self.kills += 1

    async def _sample(self) -> None:
        """Note again and again what has arrived."""
        while True:
            table, now = queues(), time.monotonic()
            for upload in self.uploads:
                if upload.sending is not None:
                    upload.sending.samples.append((now, upload.sending.arrived(table)))
            await asyncio.sleep(SAMPLE_SECONDS)
