"""A client of tus: where an upload is interrupted, it asks how much is stored, and goes on there.

Nothing of that is a retry: a pod that drains ends the requests of such uploads, and their clients
come back, to whichever pod they get.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from contextlib import aclosing, suppress

from tests.rehearsal.account import Account, Failed
from tests.rehearsal.pace import PIECE, paced
from tests.support.client import Answer, Connection, connect

KIND = "resumable"
TRIES = 20
"""How often one upload is gone on with at most."""

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


class Resumable:
    """Uploads through one gateway."""

    def __init__(
        self, endpoint: tuple[str, int], headers: Mapping[str, str], account: Account
    ) -> None:
        self._endpoint = endpoint
        self._headers = headers
        self._account = account

    async def upload(self, name: str, body: bytes) -> Answer:
        """The response to the last PATCH. Raises Failed, which is in the account."""
        filename = base64.b64encode(name.encode()).decode()
        fields = {"Upload-Length": str(len(body)), "Upload-Metadata": f"filename {filename}"}
        started = await self._account.ask(
            KIND,
            name,
            lambda: self._once("POST", "/storage/default/?overwrite=true", {**TUS, **fields}),
        )
        self._account.check(started.status == 201, KIND, name, started)
        path = started.headers["Location"]
        offset = 0
        for _ in range(TRIES):
            answer, sent = await self._part(path, body, offset)
            if answer is not None and answer.headers.get("Upload-Offset") == str(len(body)):
                return answer
            self._account.resumed[str(answer.status if answer else "cut")] += 1
            known = await self._account.ask("offset", name, lambda: self._once("HEAD", path, TUS))
            stored = int(known.headers.get("Upload-Offset", -1))
            self._account.check(offset <= stored <= sent, KIND, name, known)
            self._account.bytes["sent again"] += sent - stored
            offset = stored
        self._account.wrong.append(f"{KIND} {name}: interrupted {TRIES} times, at last at {offset}")
        raise Failed("interrupted")

    async def _part(self, path: str, body: bytes, start: int) -> tuple[Answer | None, int]:
        """The response to a PATCH with the bytes from ``start`` on, None if the connection broke;
        and up to where bytes were sent."""
        host, port = self._endpoint
        sent = start
        with suppress(OSError, asyncio.IncompleteReadError):
            async with connect(port, host=host) as connection:
                length = str(len(body) - start)
                fields = {**PART, "Upload-Offset": str(start), "Content-Length": length}
                connection.send("PATCH", path, {**self._headers, **fields})
                response = asyncio.create_task(_response(connection))
                try:
                    async with aclosing(paced(start, len(body), len(body))) as positions:
                        async for position in positions:
                            if response.done():
                                break
                            connection.send_raw(body[position : position + PIECE])
                            sent = min(position + PIECE, len(body))
                            await connection.drain()
                    return await response, sent
                finally:
                    response.cancel()
        return None, sent

    async def _once(self, method: str, target: str, fields: Mapping[str, str]) -> Answer:
        host, port = self._endpoint
        async with connect(port, host=host) as connection:
            return await connection.ask(method, target, {**self._headers, **fields})


async def _response(connection: Connection) -> Answer:
    """The response, however long it takes: it may come before all is sent."""
    status, headers = await connection.head(seconds=None)
    return Answer(status, headers, b"")
