"""An event stream read as a browser reads it (WHATWG HTML §9.2.6), strictly."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from multidict import CIMultiDict

from tests.support.client import Connection, connect

Event = dict[str, Any]


class EventSource:
    """The parser: takes bytes as they come, gives what a browser would dispatch."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.comments = 0
        self.retry: int | None = None
        self.id = ""
        self._rest = b""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._line(line.decode())

    def _line(self, line: str) -> None:
        assert "\r" not in line
        if not line:
            if self._data:
                self.messages.append("\n".join(self._data))
            self._data = []
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "data":
            self._data.append(value)
        elif field == "retry":
            assert value.isdigit()
            self.retry = int(value)
        elif field == "id":
            self.id = value
        else:
            raise AssertionError(f"nothing else belongs here: {line!r}")


class Stream:
    """One watcher of a transfer. Holds of each event what holds of all, as it comes."""

    def __init__(
        self, id_: str, connection: Connection, status: int, headers: CIMultiDict[str]
    ) -> None:
        self.status = status
        self.headers = headers
        self.connection = connection
        self.source = EventSource()
        self.times: list[float] = []
        self.events: list[Event] = []
        self.ended = False
        self._id = id_

    async def read(self) -> None:
        """Wait for one piece of the body, or its end."""
        reader = self.connection.reader
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = await reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        if not size:
            self.ended = True
            return
        self.source.feed(data[:-2])
        for text in self.source.messages[len(self.events) :]:
            self._take(json.loads(text))

    def _take(self, event: Event) -> None:
        assert set(event) - {"error"} == {"id", "direction", "bytes", "total", "done"}
        assert event["id"] == self._id
        assert event["direction"] in ("upload", "download")
        assert type(event["bytes"]) is int
        assert event["done"] or "error" not in event
        if self.events:
            last = self.events[-1]
            assert not last["done"]
            assert event["bytes"] >= last["bytes"]
            assert event["direction"] == last["direction"]
        if event["done"] and "error" not in event:
            assert event["bytes"] == event["total"]
        self.events.append(event)
        self.times.append(time.monotonic())

    async def event(self, seconds: float = 10.0) -> Event:
        """The next event."""
        before = len(self.events)
        async with asyncio.timeout(seconds):
            while len(self.events) == before:
                assert not self.ended
                await self.read()
        return self.events[before]

    async def last(self, seconds: float = 20.0) -> Event:
        """The last event, when the stream has ended by itself."""
        await self.end(seconds)
        assert self.events[-1]["done"]
        return self.events[-1]

    async def end(self, seconds: float = 20.0) -> None:
        """Read until the stream has ended by itself."""
        async with asyncio.timeout(seconds):
            while not self.ended:
                await self.read()

    async def silent(self, seconds: float = 0.4) -> None:
        """Hold that no event comes."""
        before = len(self.events)
        try:
            async with asyncio.timeout(seconds):
                while not self.ended:
                    await self.read()
        except TimeoutError:
            pass
        assert not self.ended
        assert len(self.events) == before, self.events


class ChangeStream(Stream):
    """One watcher of changes."""

    def _take(self, event: Event) -> None:
        assert set(event) in ({"change"}, {"type", "name", "change"})
        self.events.append(event)
        self.times.append(time.monotonic())


@asynccontextmanager
async def watching_changes(
    port: int,
    query: str,
    headers: Mapping[str, str] | None = None,
    *,
    receive_buffer: int = 0,
) -> AsyncIterator[ChangeStream]:
    """An event stream of changes, which has started."""
    target = f"/sse/changes?{query}"
    async with _watching(port, target, headers, receive_buffer) as (connection, answered):
        stream = ChangeStream("", connection, 200, answered)
        await stream.read()
        assert stream.source.id
        yield stream


@asynccontextmanager
async def watching(
    port: int,
    id_: str,
    headers: Mapping[str, str] | None = None,
    *,
    query: str = "",
    receive_buffer: int = 0,
) -> AsyncIterator[Stream]:
    """An event stream of the transfer ``id_``."""
    target = f"/sse/progress?id={id_}{query}"
    async with _watching(port, target, headers, receive_buffer) as (connection, answered):
        yield Stream(id_, connection, 200, answered)


@asynccontextmanager
async def _watching(
    port: int, target: str, headers: Mapping[str, str] | None, receive_buffer: int
) -> AsyncIterator[tuple[Connection, CIMultiDict[str]]]:
    async with connect(port, receive_buffer=receive_buffer) as connection:
        connection.send("GET", target, headers)
        status, answered = await connection.head()
        assert status == 200
        assert answered["Content-Type"] == "text/event-stream"
        assert answered["Cache-Control"] == "no-store"
        assert answered["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in answered
        yield connection, answered


async def seen(
    port: int, id_: str, headers: Mapping[str, str] | None = None, *, seconds: float = 20.0
) -> Event:
    """The last event of a transfer."""
    async with watching(port, id_, headers) as stream:
        return await stream.last(seconds)
