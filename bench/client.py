"""An HTTP client on a raw socket that costs as little as a client can.

A download is received into one buffer that is used again and again, an upload goes from the page
cache to the socket by sendfile(2). Bodies are counted, and hashed when asked to, so that a wrong
answer is an error and not a fast one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import struct
import time
from types import TracebackType
from urllib.parse import urlsplit

PIECE = 256 * 1024
SECONDS = 120
"""How long a server may keep one call on a socket waiting."""

_TUS = "Tus-Resumable: 1.0.0\r\n"
_PART = "Content-Type: application/offset+octet-stream\r\n"
_SEND = 16 * 1024 * 1024
_MAX_HEAD = 65536


class WrongAnswerError(Exception):
    """A server answered something else than it was asked for."""


class Client:
    """One connection to 127.0.0.1, kept alive. ``token`` is sent as the Bearer token if given."""

    def __init__(self, port: int, token: str = "", receive_buffer: int = 0) -> None:
        self._port, self._receive_buffer = port, receive_buffer
        self._connect()
        self._buffer = memoryview(bytearray(PIECE))
        self._token = token
        self._length = 0  # of the body that is being received
        self._fields: dict[str, str] = {}  # of the last head, by lower-case names

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def get(self, path: str, size: int, digest: str | None = None) -> None:
        """Receive a body of ``size`` bytes. Raises WrongAnswerError if it is another, by its
        length or, where ``digest`` is given, by its SHA-256."""
        self._begin("GET", path)
        seen = hashlib.sha256()
        rest = self._head((200,), size)
        count = len(rest)
        if digest is not None:
            seen.update(rest)
        while count < size:
            received = self._socket.recv_into(self._buffer)
            if not received:
                raise WrongAnswerError(f"the connection ended after {count} of {size} bytes")
            count += received
            if digest is not None:
                seen.update(self._buffer[:received])
        if count != size or digest not in (None, seen.hexdigest()):
            raise WrongAnswerError("the body is not the file")

    def begin(self, path: str) -> None:
        """Ask for a body, and return when its first bytes are there. The connection is of no use
        afterwards."""
        self._begin("GET", path)
        if not self._head((200,), None):
            self._socket.recv(1)

    def get_ranges(self, path: str, ranges: str) -> None:
        """Receive a multipart body of several ``ranges`` (``0-9,20-29``), which is counted."""
        self._begin("GET", path, f"Range: bytes={ranges}\r\n")
        count = len(self._head((206,), None))
        while count < self._length:
            received = self._socket.recv_into(self._buffer)
            if not received:
                raise WrongAnswerError(f"the connection ended after {count} bytes")
            count += received

    def get_slowly(self, path: str, size: int, piece: int, pause: float, seconds: float) -> int:
        """Receive at most ``piece`` bytes every ``pause`` seconds, and return how many came in
        ``seconds``."""
        until = time.monotonic() + seconds
        self._begin("GET", path)
        count = len(self._head((200,), size))
        while time.monotonic() < until and count < size:
            received = self._socket.recv_into(self._buffer[: min(piece, PIECE)])
            if not received:
                raise WrongAnswerError("the connection ended early")
            count += received
            time.sleep(pause)
        return count

    def send(
        self,
        method: str,
        path: str,
        file: str,
        before: bytes = b"",
        after: bytes = b"",
        kind: str = "",
    ) -> None:
        """Send ``file``, between ``before`` and ``after``, and wait for the answer."""
        with open(file, "rb", buffering=0) as source:
            size = os.fstat(source.fileno()).st_size
            length = len(before) + size + len(after)
            extra = f"Content-Type: {kind}\r\n" if kind else ""
            self._begin(method, path, f"Content-Length: {length}\r\n{extra}")
            self._socket.sendall(before)
            self._send_file(source.fileno(), 0, size)
            self._socket.sendall(after)
        self._head((200, 201), None)

    def start_upload(self, path: str, name: str, size: int) -> str:
        """Start an upload by tus of the file ``name``; the path that it gets. The connection is of
        no use afterwards."""
        filename = base64.b64encode(name.encode()).decode()
        extra = f"{_TUS}Upload-Length: {size}\r\nUpload-Metadata: filename {filename}\r\n"
        self._begin("POST", path, f"{extra}Content-Length: 0\r\n")
        self._head((201,), None)
        return urlsplit(self._fields["location"]).path

    def send_parts(self, path: str, file: str, part: int) -> None:
        """Send ``file`` to its upload at ``path``, ``part`` bytes by each PATCH, and wait for the
        response to each. Connects again where the server closes the connection."""
        with open(file, "rb", buffering=0) as source:
            size = os.fstat(source.fileno()).st_size
            for start in range(0, size, part):
                end = min(start + part, size)
                extra = f"{_TUS}{_PART}Content-Length: {end - start}\r\nUpload-Offset: {start}\r\n"
                self._begin("PATCH", path, extra)
                self._send_file(source.fileno(), start, end)
                self._head((204,), None)
                if self._fields.get("connection") == "close":
                    self._socket.close()
                    self._connect()
                if self._fields["upload-offset"] != str(end):
                    raise WrongAnswerError(f"not all of a part was taken: {self._fields}")

    def delete(self, path: str) -> None:
        """Delete what is at ``path``. The connection is of no use afterwards."""
        self._begin("DELETE", path, _TUS)
        self._head((200, 204), None)

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if self._receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        # Time limits of the kernel's: those of Python would cost a poll(2) before each call.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SECONDS, 0))
        self._socket.connect(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _send_file(self, descriptor: int, start: int, end: int) -> None:
        while start < end:
            count = min(_SEND, end - start)
            start += os.sendfile(self._socket.fileno(), descriptor, start, count)

    def send_for(self, path: str, file: str, seconds: float, least: int) -> int:
        """Send ``file`` for ``seconds`` and until ``least`` bytes are gone, or to its last byte but
        one: the upload is never complete. Return how many bytes went."""
        descriptor = os.open(file, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            self._begin("PUT", path, f"Content-Length: {size}\r\n")
            until = time.monotonic() + seconds
            position = 0
            while position < size - 1 and (position < least or time.monotonic() < until):
                count = min(PIECE, size - 1 - position)
                position += os.sendfile(self._socket.fileno(), descriptor, position, count)
            while time.monotonic() < until:
                time.sleep(0.05)
            return position
        finally:
            os.close(descriptor)

    def send_slowly(self, path: str, size: int, piece: int, pause: float) -> None:
        """Send zeros, ``piece`` of them every ``pause`` seconds."""
        self._begin("PUT", path, f"Content-Length: {size}\r\n")
        for _ in range(0, size, piece):
            self._socket.sendall(bytes(piece))
            time.sleep(pause)

    def _begin(self, method: str, path: str, extra: str = "") -> None:
        authorization = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{extra}\r\n"
        self._socket.sendall(head.encode())

    def _head(self, statuses: tuple[int, ...], size: int | None) -> bytes:
        """Read the head of the answer; return what came of the body with it."""
        text = b""
        while b"\r\n\r\n" not in text:
            received = self._socket.recv(_MAX_HEAD)
            if not received or len(text) > _MAX_HEAD:
                raise WrongAnswerError("there is no answer")
            text += received
        head, _, rest = text.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        if int(first.split()[1]) not in statuses:
            raise WrongAnswerError(f"the answer is: {first}")
        self._fields = {
            name.lower(): value for name, _, value in (x.partition(": ") for x in lines)
        }
        self._length = int(self._fields.get("content-length", 0))
        if size not in (None, self._length):
            raise WrongAnswerError(f"the answer has not {size} bytes: {self._fields}")
        return rest
