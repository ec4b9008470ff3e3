"""gRPC, and its errors as errors of :mod:`gfs.errors`.

A call either returns within its time or raises :class:`CallFailed`, a StoreUnavailable that keeps
what gRPC said, for callers that have to distinguish one refusal from another. SeaweedFS has no
status for "not found": it responds UNKNOWN with a sentence, which is read here and nowhere else.

A channel reconnects by itself. By default gRPC waits up to two minutes between two attempts; here
it waits a second, so that a server that was restarted is soon used again. Messages may have 64 MiB
instead of the default 4 MiB: the chunk list of a large file that another program wrote is one
message. Servers refuse keepalive pings that come more often than every 20 s.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from gfs.errors import StoreUnavailable
from gfs.seaweedfs.servers import http2
from gfs.seaweedfs.servers.http2 import MAX_MESSAGE_BYTES
from gfs.types import Tls

RECONNECT_MS = 1_000
"""The time between two attempts to connect."""

KEEPALIVE_MS = 30_000
"""The time between two keepalive pings on an open connection."""

KEEPALIVE_TIMEOUT_MS = 5_000
"""How long a keepalive ping may stay without a response before the connection is closed."""

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
_STATUSES = {status.value[0]: status for status in grpc.StatusCode}
_ABSENT = "no entry is found in filer store"

_CLOSED = "the connection is closed at once: one side may want TLS and the other not"
_MEANINGS = {
    "Failed parsing HTTP/2": "something responds, but does not speak gRPC",
    "Connection refused": "nothing listens there",
    "resolving": "its name is not found",
    "before receiving SETTINGS": "something listens, but says nothing",
    "Socket closed": _CLOSED,
    "reset by peer": _CLOSED,
    "Broken pipe": _CLOSED,
    "Endpoint closing": _CLOSED,
    "handshake failed": "the handshake of TLS fails: its certificates may not fit",
    "No route to host": "there is no route to it",
}
"""Parts of what gRPC says of a connection that cannot be made, and what they mean: its status is
UNAVAILABLE for all of them."""

_Q = TypeVar("_Q", bound=Message)
_R = TypeVar("_R", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[_Q, _R]):
    """A method of a service: its path, and the messages of its request and response."""

    path: str
    request: type[_Q]
    response: type[_R]


class CallFailed(StoreUnavailable):
    """A call that gRPC ended with an error: the status ``code`` and its ``details``."""

    def __init__(self, peer: str, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{peer}: {code.name.lower()}")
        self.code = code
        self.details = details

    @classmethod
    def given_up(cls, peer: str) -> CallFailed:
        """The failure of a call whose response is no longer waited for."""
        return cls(peer, grpc.StatusCode.DEADLINE_EXCEEDED, "the server does not respond")

    @property
    def absent(self) -> bool:
        """Whether the server responded that there is no such entry."""
        return self.code is grpc.StatusCode.NOT_FOUND or _ABSENT in self.details

    @property
    def refused(self) -> bool:
        """Whether the server itself responded that it cannot do it, in a sentence."""
        return self.code is grpc.StatusCode.UNKNOWN

    @property
    def foreign(self) -> bool:
        """Whether the server speaks gRPC, but has no such service or method."""
        return self.code is grpc.StatusCode.UNIMPLEMENTED

    @property
    def why(self) -> str:
        """What is wrong with the server, for the operator who configured its address."""
        if self.foreign:
            return "it speaks gRPC, but is another kind of server"
        for words, meaning in _MEANINGS.items():
            if words in self.details:
                return meaning
        return "it does not respond" if self.late else self.code.name.lower()

    @property
    def late(self) -> bool:
        """Whether no response came in time."""
        return self.code is grpc.StatusCode.DEADLINE_EXCEEDED


class Channels:
    """One channel to each server that was ever called; encrypted if there is ``tls``."""

    def __init__(self, tls: Tls | None = None) -> None:
        """Raises ValueError if the texts of ``tls`` are not in PEM."""
        self._credentials = None
        self._context = None
        if tls is not None:
            if any(b"-----BEGIN " not in text for text in (tls.ca, tls.certificate, tls.key)):
                raise ValueError("a certificate or key for TLS is not in PEM")
            self._credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._context = http2.context_of(tls)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._calls: dict[tuple[str, str], Any] = {}
        self._connections: dict[str, http2.Connection] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def __repr__(self) -> str:
        return f"<Channels encrypted={self._credentials is not None} servers={len(self._channels)}>"

    async def call(self, peer: str, method: Method[_Q, _R], request: _Q, seconds: float) -> _R:
        """Call ``method`` of ``peer`` (``host:port``), and return the response. Raises CallFailed,
        after ``seconds`` at most.

        A cancellation cancels the call; the server may carry it out all the same.
        """
        invoke = self._multicallable(peer, method, "unary_unary")
        try:
            response: _R = await invoke(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise _failure(peer, error) from error
        return response

    async def stream(
        self, peer: str, method: Method[_Q, _R], request: _Q, seconds: float | None
    ) -> AsyncGenerator[_R, None]:
        """Yield the responses of ``peer`` to one request, all of them within ``seconds``. Raises
        CallFailed. Hold it in ``contextlib.aclosing``.
        """
        invoke = self._multicallable(peer, method, "unary_stream")
        call = invoke(request, timeout=seconds)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _failure(peer, error) from error
        finally:
            call.cancel()

    async def messages(
        self, peer: str, method: Method[_Q, _R], request: _Q, seconds: float, most: int
    ) -> tuple[list[bytes], bool]:
        """The responses of ``peer`` to one request, as bytes, and whether they are all: the rest is
        not read if they have ``most`` bytes. Raises CallFailed, after ``seconds`` at most.

        It is for responses that are many and small (:mod:`gfs.seaweedfs.servers.http2`).
        """
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connection(peer)
                return await connection.ask(method.path, request.SerializeToString(), most)
        except TimeoutError as error:
            raise CallFailed.given_up(peer) from error
        except http2.Failed as error:
            code = grpc.StatusCode.UNAVAILABLE if error.code is None else _STATUSES[error.code]
            raise CallFailed(peer, code, str(error)) from error

    async def converse(
        self, peer: str, method: Method[_Q, _R], requests: AsyncIterable[_Q]
    ) -> AsyncGenerator[_R, None]:
        """Like ``stream``, but with a stream of requests and without a deadline."""
        invoke = self._multicallable(peer, method, "stream_stream")
        call = invoke(requests)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _failure(peer, error) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close all channels; open calls are cancelled. Idempotent."""
        self._calls.clear()
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close(None)
        while self._connections:
            self._connections.popitem()[1].close()

    async def _connection(self, peer: str) -> http2.Connection:
        async with self._opening.setdefault(peer, asyncio.Lock()):
            connection = self._connections.get(peer)
            if connection is None or not connection.usable:
                if connection is not None:
                    connection.leave()
                connection = await http2.Connection.open(peer, self._context)
                self._connections[peer] = connection
            return connection

    def _multicallable(self, peer: str, method: Method[_Q, _R], kind: str) -> Any:
        key = peer, method.path
        found = self._calls.get(key)
        if found is None:
            factory = getattr(self._channel(peer), kind)
            found = self._calls[key] = factory(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return found

    def _channel(self, peer: str) -> grpc.aio.Channel:
        channel = self._channels.get(peer)
        if channel is None:
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(peer, options=_OPTIONS)
            else:
                channel = grpc.aio.secure_channel(peer, self._credentials, options=_OPTIONS)
            self._channels[peer] = channel
        return channel


def _failure(peer: str, error: grpc.aio.AioRpcError) -> CallFailed:
    return CallFailed(peer, error.code(), error.details() or "")
