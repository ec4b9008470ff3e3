"""Uploads a file with aiotus, as with_node.js does, and with the same arguments but STORAGE.

By its functions for one request and one file, since its ``upload`` takes no ``Location`` that is a
path, which the protocol allows.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
from aiotus import core, creation
from yarl import URL

TRIES = 20
PAUSE_SECONDS = 0.1


async def upload(folder: URL, path: Path, name: str, token: str, chunk: int) -> None:
    async with aiohttp.ClientSession(headers={"Authorization": token}) as session:
        with path.open("rb") as file:
            metadata = {"filename": name.encode()}
            location = folder.join(await creation.create(session, folder, file, metadata))
            for _ in range(TRIES):
                with suppress(aiohttp.ClientError):
                    await core.upload_buffer(session, location, file, chunksize=chunk)
                    return
                await asyncio.sleep(PAUSE_SECONDS)
            sys.exit("no try has brought it to its end")


def main() -> None:
    folder, path, name, token, chunk = sys.argv[1:6]
    size = int(chunk) or Path(path).stat().st_size
    asyncio.run(upload(URL(folder), Path(path), name, token, size))


if __name__ == "__main__":
    main()
