"""``GET /storage/files``: the files of a namespace as a JSON array, sorted by name.

The array is sent batch by batch, so that a list of a million files takes the memory of one batch. A
page (``limit``) is collected before it is sent, because the Link to the next page is a header; it
is small.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import hdrs, web
from multidict import MultiMapping

from gfs.types import FileInfo
from sfs_server.auth import DEFAULT_NAMESPACE, Action
from sfs_server.errors import Problem
from sfs_server.http import check_namespace, content_type, etag_of, file_path, limit_of, next_page
from sfs_server.transfer import ClientSocket
from sfs_server.web import FILESYSTEM, permitted

_NS = 1_000_000_000
_quoted = json.JSONEncoder(ensure_ascii=False).encode
_HEADERS = {
    hdrs.CONTENT_TYPE: "application/json; charset=utf-8",
    hdrs.CACHE_CONTROL: "private, no-cache",
    hdrs.VARY: "Authorization, Origin",
}


async def list_files(request: web.Request) -> web.StreamResponse:
    """Respond with all files, or with one page of them if there is a ``limit``."""
    query = request.query
    directory = check_namespace(query.get("namespace", DEFAULT_NAMESPACE))
    _refuse_other_lists(query)
    prefix, after = query.get("prefix", ""), query.get("after", "")
    limit = limit_of(request.query)
    await permitted(request, Action.READ, directory, stale_ok=True)
    batches = request.app[FILESYSTEM].list_files(
        directory, prefix=prefix, after=after, limit=None if limit is None else limit + 1
    )
    async with aclosing(batches):
        if limit is None:
            return await _stream(request, batches)
        return await _page(request, batches, limit)


def _refuse_other_lists(query: MultiMapping[str]) -> None:
    """Raise Problem 400 for parameters that other services understand, and that would make the list
    shorter: a client that gets all files instead may go on to delete all of them."""
    if query.get("folder"):
        raise Problem(400, "There are no folders: leave out ?folder=.")
    if query.get("type", "file") != "file":
        raise Problem(400, "There are only files: leave out ?type=, or say ?type=file.")
    if query.get("contains"):
        raise Problem(400, "?contains= is not supported: use ?prefix=, the beginning of the names.")


async def _page(
    request: web.Request, batches: AsyncGenerator[list[FileInfo], None], limit: int
) -> web.Response:
    found = [info async for batch in batches for info in batch]
    headers = dict(_HEADERS)
    if len(found) > limit:
        headers[hdrs.LINK] = next_page(request.path, request.query, found[limit - 1].name)
    body = b"[%b]\n" % _encode(found[:limit])
    return web.Response(body=body, headers=headers)


async def _stream(
    request: web.Request, batches: AsyncGenerator[list[FileInfo], None]
) -> web.StreamResponse:
    # An error of the store mostly shows here, while the response can still be a 503.
    first: list[FileInfo] = await anext(batches, [])
    response = web.StreamResponse(headers=_HEADERS)
    client = ClientSocket(request)
    await client.start(response)
    if request.method == "HEAD":
        return response
    await client.write(b"[" + _encode(first))
    async for batch in batches:
        await client.write(b",\n" + _encode(batch))
    await client.write(b"]\n")
    return response


def _encode(batch: list[FileInfo]) -> bytes:
    """The members of the array for ``batch``, one on each line, without the brackets."""
    return ",\n".join(map(_describe, batch)).encode()


def _describe(info: FileInfo) -> str:
    """The member for one file, as ``json.dumps`` would write it, in half the time."""
    return (
        f'{{"name": {_quoted(info.name)}, '
        f'"path": {_quoted(file_path(info.directory, info.name))}, '
        f'"namespace": {_quoted(info.directory)}, '
        f'"size": {info.size}, '
        f'"created_at": {info.created_ns // _NS}, '
        f'"modified_at": {info.modified_ns // _NS}, '
        f'"content_type": {_quoted(content_type(info.name))}, '
        f'"etag": {_quoted(etag_of(info))}}}'
    )
