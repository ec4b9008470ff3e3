"""Requests of many clients to four processes while something is broken, and a verdict on them.

In each round some files are read, written, replaced on conditions and deleted by CLIENTS clients of
each process, without a pause. Something is broken after BEFORE_SECONDS, mended after HELD_SECONDS,
and the round ends AFTER_SECONDS later. Every response is right, or a 503, and comes within
DEADLINE_SECONDS. Then the history of each file must be linearizable. A read that does not say
``Cache-Control: no-cache`` may be from before its start, by OLD_SECONDS: it counts as if it had
started so much earlier.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from tests.faults.transfers import Loop
from tests.support.credentials import bearer
from tests.support.linear import Op, age, linearizable

CLIENTS = 4
"""Of each process."""

FILES = 12
BEFORE_SECONDS = 1.0
HELD_SECONDS = 6.0
AFTER_SECONDS = 2.0
DEADLINE_SECONDS = 15.0
OLD_SECONDS = 1.0
PAUSE = 0.02
"""Of a client, after a 503."""

KINDS = {"get": 25, "fresh": 25, "put": 22, "new": 9, "swap": 9, "delete": 10}


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the service: its port on 127.0.0.1, and what makes a socket that reaches it."""

    port: int
    socket: Callable[[], socket.socket] = socket.socket


class Supervised(Protocol):
    """A server that may end by itself, and is started again then."""

    name: str

    @property
    def alive(self) -> bool: ...

    def start(self) -> None: ...


@dataclass
class Round:
    """What was asked in one round, and what came of it."""

    ops: dict[str, list[Op]] = field(default_factory=dict)
    reads: list[tuple[str, Op]] = field(default_factory=list)
    """Those of ``ops`` that read, as they were asked, with their files."""

    etags: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=lambda: {"get": 0.0, "change": 0.0})
    restarted: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(map(len, self.ops.values()))

    @property
    def oldest(self) -> float:
        """The age of the oldest read."""
        return max((age(op, self.ops[file]) for file, op in self.reads), default=0.0)


class Client:
    """One client, with one connection. It writes values that nobody else writes."""

    def __init__(self, service: Service, name: str, done: Round, files: list[str]) -> None:
        self._service = service
        self._name = name
        self._round = done
        self._files = files
        self._dice = random.Random(name)
        self._number = 0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, until: asyncio.Event) -> None:
        try:
            while not until.is_set():
                await self._once()
        finally:
            self._hang_up()

    async def _once(self) -> None:
        file = self._dice.choice(self._files)
        kind = self._dice.choices(list(KINDS), list(KINDS.values()))[0]
        etags = self._round.etags.setdefault(file, {})
        self._number += 1
        value = f"{self._name}.{self._number}"
        headers = dict(bearer())
        expected = None
        if kind == "swap":
            if not etags:
                return
            expected = self._dice.choice(list(etags)[-3:])
            headers["If-Match"] = etags[expected]
        if kind == "new":
            headers["If-None-Match"] = "*"
        if kind == "fresh":
            headers["Cache-Control"] = "no-cache"
        method = {"get": "GET", "fresh": "GET", "delete": "DELETE"}.get(kind, "PUT")
        body = value.encode() if method == "PUT" else b""
        start = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                status, fields, found = await self._ask(method, file, headers, body)
        except (OSError, asyncio.IncompleteReadError):
            status, fields, found = 0, {}, b""
            self._hang_up()
        end = time.monotonic()
        self._round.statuses[status] += 1
        sort = "get" if method == "GET" else "change"
        self._round.slowest[sort] = max(self._round.slowest[sort], end - start)
        if "etag" in fields and status in (200, 201):
            etags[found.decode() if method == "GET" else value] = fields["etag"]
        self._keep(file, kind, value, expected, (start, end), status, found)
        if status in (0, 503):
            await asyncio.sleep(PAUSE)

    def _keep(
        self,
        file: str,
        kind: str,
        value: str,
        expected: str | None,
        when: tuple[float, float],
        status: int,
        found: bytes,
    ) -> None:
        """Add what was asked to the history."""
        ops = self._round.ops.setdefault(file, [])
        if kind in ("get", "fresh"):
            if status in (0, 503):
                return
            assert status in (200, 404), (kind, status)
            read = Op("get", found.decode() if status == 200 else None, *when)
            self._round.reads.append((file, read))
            old = OLD_SECONDS if kind == "get" else 0.0
            ops.append(replace(read, start=read.start - old))
            return
        refusals = {"new": 412, "swap": 412, "delete": 404}
        outcomes = {0: "unknown", 503: "unknown", 200: "done", 201: "done"}
        if kind in refusals:
            outcomes[refusals[kind]] = "refused"
        assert status in outcomes, (kind, status, found)
        ops.append(
            Op(
                kind,  # type: ignore[arg-type]
                None if kind == "delete" else value,
                *when,
                outcomes[status],  # type: ignore[arg-type]
                expected,
            )
        )

    async def _ask(
        self, method: str, file: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """The status, the fields by their names in small letters, and the body."""
        if self._streams is None:
            sock = self._service.socket()
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._service.port))
            self._streams = await asyncio.open_connection(sock=sock)
        reader, writer = self._streams
        lines = [f"{method} /storage/default/{file} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        fields = {name.lower(): value for name, value in pairs}
        found = await reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection", "").lower() == "close":
            self._hang_up()
        return int(head[0].split()[1]), fields, found

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def supervise(servers: list[Supervised], restarted: Counter[str]) -> None:
    """Start again whichever of them ends, as a supervisor does, until it is cancelled."""
    while True:
        for server in servers:
            if not server.alive:
                restarted[server.name] += 1
                server.start()
        await asyncio.sleep(0.2)


async def break_and_mend(
    name: str,
    services: list[Service],
    loop: Loop,
    *,
    strike: Callable[[], None],
    mend: Callable[[], None],
    held: float = HELD_SECONDS,
    supervised: list[Supervised] | None = None,
) -> int:
    """One round; how many requests there were. Raises AssertionError for a history that cannot be
    explained, TimeoutError for a response that did not come."""
    done = Round()
    stop = asyncio.Event()
    files = [f"{name.replace(' ', '-')}-{loop.strikes}-{number}" for number in range(FILES)]
    clients = [
        Client(service, f"{number}.{one}", done, files)
        for number, service in enumerate(services)
        for one in range(CLIENTS)
    ]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.run(stop))
        watching = group.create_task(supervise(supervised or [], done.restarted))
        try:
            await asyncio.sleep(BEFORE_SECONDS)
            strike()
            try:
                await asyncio.sleep(held)
            finally:
                mend()
            await asyncio.sleep(AFTER_SECONDS)
        finally:
            stop.set()
            watching.cancel()
    loop.strikes += 1
    loop.transfers += done.count
    loop.slowest = max(loop.slowest, *done.slowest.values())
    unknown = done.statuses[503] + done.statuses[0]
    loop.notes.append(
        f"{name}: {done.count} requests, {unknown} without an answer, slowest GET "
        f"{done.slowest['get']:.2f} s, slowest change {done.slowest['change']:.2f} s, oldest read "
        f"{done.oldest:.2f} s" + "".join(f", {who} was started again" for who in done.restarted)
    )
    for file, ops in done.ops.items():
        verdict = await asyncio.to_thread(linearizable, ops)
        assert verdict, f"the history of {file} cannot be explained:\n{_shown(ops)}"
    return done.count


def _shown(ops: list[Op]) -> str:
    first = min(op.start for op in ops)
    return "\n".join(
        f"{op.start - first:.3f} {op.end - first:.3f} {op.kind} {op.value} {op.outcome} "
        f"{op.expected or ''}"
        for op in sorted(ops, key=lambda op: op.start)
    )
