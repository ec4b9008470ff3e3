"""Sending a list, slice by slice.

A list without a ``limit`` is sent as the store finds it, so that a list of a million entries takes
the memory of one batch. A page is collected before it is sent, because the Link to the next page is
a header; it is small. Entries are narrowed and written a slice at a time, and other requests have
their turn between two slices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from aiohttp import hdrs, web

from gfs.api import FileSystem
from gfs.types import Entry
from sfs_server.http import next_page
from sfs_server.listing.index_page import IndexPage
from sfs_server.listing.json_array import JsonArray
from sfs_server.listing.query import Query
from sfs_server.transfer import ClientSocket
from sfs_server.web import FILESYSTEM

SLICE = 256
"""How many entries are narrowed and written before other requests have their turn: for about
1 ms."""

SILENCE_SECONDS = 10.0
"""How long a scan that finds nothing sends nothing; then it sends white space, so that no gateway
takes the service for dead."""

Slices = AsyncGenerator[Sequence[Entry], None]


async def send_list(
    request: web.Request,
    namespace: str,
    query: Query,
    form: JsonArray | IndexPage,
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Respond with the entries of ``namespace`` that ``query`` asks for, written by ``form``, with
    ``headers`` and the Content-Type. Raises what the store raises; the caller has looked whether
    there is the folder."""
    fields = {**headers, hdrs.CONTENT_TYPE: form.content_type}
    async with aclosing(_slices(request.app[FILESYSTEM], namespace, query)) as slices:
        if query.limit is None:
            return await _stream(request, slices, form, fields)
        return await _page(request, slices, query, query.limit, form, fields)


async def _slices(fs: FileSystem, namespace: str, query: Query) -> Slices:
    """Yield the entries, at most SLICE at once; none where a slice has none that are asked for.
    There may be more than the limit. Raises NoSuchFolder: only a folder in which nothing was found
    has to be looked for."""
    limit = None if query.limit is None or query.contains else query.limit + 1
    batches: AsyncGenerator[Sequence[Entry], None]
    if query.folder is None:
        batches = fs.list_files(namespace, prefix=query.prefix, after=query.after, limit=limit)
    else:
        batches = fs.list_folder(
            namespace,
            query.folder,
            prefix=query.prefix,
            after=query.after,
            limit=limit,
            kind=query.kind,
        )
    found = False
    async with aclosing(batches):
        async for batch in batches:
            for start in range(0, len(batch), SLICE):
                found = True
                yield query.kept(batch[start : start + SLICE])
                await asyncio.sleep(0)
    if query.folder and not found:
        await fs.stat_folder(namespace, query.folder)


async def _page(
    request: web.Request,
    slices: Slices,
    query: Query,
    limit: int,
    form: JsonArray | IndexPage,
    headers: dict[str, str],
) -> web.Response:
    pieces: list[bytes] = []
    count, last = 0, ""
    async for entries in slices:
        shown = entries[: limit - count]
        if shown:
            pieces.append(form.encode(shown))
            count += len(shown)
            last = shown[-1].path[query.hidden_characters :]
        if len(shown) < len(entries):
            headers[hdrs.LINK] = next_page(request.path, request.query, last)
            break
    body = b"%b%b%b" % (form.head, form.separator.join(pieces), form.tail)
    return web.Response(body=body, headers=headers)


async def _stream(
    request: web.Request,
    slices: Slices,
    form: JsonArray | IndexPage,
    headers: dict[str, str],
) -> web.StreamResponse:
    # An error of the store mostly shows here, while the response can still be a 503.
    first: Sequence[Entry] = await anext(slices, [])
    response = web.StreamResponse(headers=headers)
    client = ClientSocket(request)
    await client.start(response)
    if request.method == "HEAD":
        return response
    await client.write(form.head + form.encode(first))
    separator = form.separator if first else b""
    loop = asyncio.get_running_loop()
    sent = loop.time()
    async for entries in slices:
        if entries:
            await client.write(separator + form.encode(entries))
            separator = form.separator
        elif loop.time() - sent > SILENCE_SECONDS:
            await client.write(b"\n")
        else:
            continue
        sent = loop.time()
    await client.write(form.tail)
    return response
