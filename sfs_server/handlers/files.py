"""Files: view, download, upload, delete. They are listed by :mod:`sfs_server.handlers.listings`,
and moved by :mod:`sfs_server.handlers.folders`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from aiohttp import hdrs, web

from gfs import clock
from gfs.api import FileSystem, Reader
from gfs.errors import IsFolder
from gfs.threads import shielded
from gfs.types import Expect, FileInfo, Published
from sfs_server import publishing
from sfs_server.auth import Action, Namespace, publicly_readable, require
from sfs_server.errors import PRECONDITION_FAILED, Problem
from sfs_server.http import (
    ByteRange,
    Multipart,
    active,
    byteranges,
    content_disposition,
    content_range,
    content_type,
    download_path,
    etag_of,
    expectation,
    file_path,
    folder_path,
    http_date,
    new_boundary,
    plan,
    target,
    unsatisfied_range,
)
from sfs_server.logs import Change
from sfs_server.namespaces import Guarded
from sfs_server.progress import Transfer
from sfs_server.transfer import Upload, send, transfer_of
from sfs_server.web import (
    CHANGE,
    CONFIG,
    CREDENTIALED,
    FILESYSTEM,
    NAMESPACES,
    PRINCIPAL,
    PROGRESS,
    done,
    permitted,
)

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The Content-Security-Policy of an uploaded page that a browser shows: it runs no script and loads
nothing, so it cannot act for the user who looks at it."""

_NS = 1_000_000_000
"""Nanoseconds in a second."""


async def view(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/:ns/:file``: a browser shows the file, if it can."""
    with transfer_of(request, "download") as transfer:
        return await _serve(request, transfer, attachment=False)


async def download(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/download/:ns/:file``: a browser saves the file."""
    with transfer_of(request, "download") as transfer:
        return await _serve(request, transfer, attachment=True)


async def _serve(
    request: web.Request, transfer: Transfer, *, attachment: bool
) -> web.StreamResponse:
    directory, name, _ = target(request.rel_url.raw_path)
    transfer.namespace = directory
    namespace = await permitted(request, Action.READ, directory, stale_ok=True)
    public = not request[CREDENTIALED] and _is_public(request, namespace, name)
    fs = request.app[FILESYSTEM]
    if "no-cache" in request.headers.get(hdrs.CACHE_CONTROL, "").lower():
        # The client wants nothing that is cached (RFC 9111 §5.2.1.4): a gateway does when another
        # process has just changed the file.
        fs.forget(directory, name)
    try:
        reader = await fs.open(directory, name)
    except IsFolder:
        return _to_folder(request, directory, name, attachment=attachment)
    try:
        if request.query_string and "archive" in request.query:
            raise Problem(400, "This is a file: ?archive= is for folders.")
        return await _respond(request, transfer, reader, public=public, attachment=attachment)
    finally:
        await reader.close()


def _to_folder(
    request: web.Request, directory: str, path: str, *, attachment: bool
) -> web.Response:
    """Send the client on to the path of the folder, where the relative links of its index are
    right. The query goes along: a token in it may be that of a link to the folder."""
    location = folder_path(directory, path)
    if attachment:
        raise Problem(404, f"This is a folder: get {location}?archive=zip to save all in it.")
    if query := request.rel_url.raw_query_string:
        location = f"{location}?{query}"
    # A file may be there later, so no cache may keep sending clients to the folder, as it otherwise
    # may do with a 301 (RFC 9111 §4.2.2).
    headers = {
        hdrs.LOCATION: location,
        hdrs.CACHE_CONTROL: "private, no-cache",
        hdrs.VARY: "Authorization, Origin",
    }
    return web.Response(status=301, headers=headers)


async def _respond(
    request: web.Request, transfer: Transfer, reader: Reader, *, public: bool, attachment: bool
) -> web.StreamResponse:
    """Respond with the version that ``reader`` has pinned, with parts of it, or with a 304, as the
    headers of the request say. Raises Problem 412 and 416."""
    info = reader.info
    planned = plan(request.method, request.headers, info, clock.unix())
    # Last-Modified is never later than Date (RFC 9110 §8.8.2.1): a clock may have been set back.
    modified = min(info.modified_ns, clock.unix_ns()) // _NS
    headers = {**_version_headers(info, modified, public)}
    if planned.status == 412:
        raise Problem(412, PRECONDITION_FAILED, headers)
    if planned.status == 416:
        headers[hdrs.CONTENT_RANGE] = unsatisfied_range(info.size)
        raise Problem(416, f"The file has {info.size} bytes: no range starts in it.", headers)
    if planned.status == 304:
        if transfer.id:
            request.app[PROGRESS].start(transfer, 0)
        return web.Response(status=304, headers=headers)
    headers |= _entity_headers(info.name, attachment)
    body: ByteRange | Multipart = planned.ranges[0]
    if len(planned.ranges) > 1:
        kind = headers[hdrs.CONTENT_TYPE]
        body = byteranges(planned.ranges, info.size, kind, new_boundary())
        headers[hdrs.CONTENT_TYPE] = body.content_type
    elif planned.status == 206:
        headers[hdrs.CONTENT_RANGE] = content_range(planned.ranges[0], info.size)
    response = web.Response(status=planned.status, headers=headers)
    if transfer.id:
        request.app[PROGRESS].start(transfer, body.length)
    await send(request, response, reader, body, transfer)
    return response


def _is_public(request: web.Request, namespace: Namespace, name: str) -> bool:
    """Whether a shared cache may store the response, if the request has no credential.

    Only under the usual spelling of its URL: under another one (with a query, a host, "/./") it
    would be another entry of the cache, which an upload to the usual one does not evict."""
    return request.raw_path in _canonical(namespace.name, name) and publicly_readable(
        namespace, anonymous_read=request.app[CONFIG].anonymous_read
    )


@lru_cache(4096)
def _version_headers(info: FileInfo, modified: int, public: bool) -> Mapping[str, str]:
    """The headers that depend on the version; ``modified`` is its Last-Modified in Unix seconds."""
    shared = "public, max-age=0, s-maxage=30, must-revalidate"
    return {
        hdrs.ETAG: etag_of(info),
        hdrs.LAST_MODIFIED: http_date(modified),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: shared if public else "private, no-cache",
        hdrs.VARY: "Authorization, Origin",
    }


@lru_cache(4096)
def _canonical(directory: str, name: str) -> tuple[str, str]:
    """The paths of a file in their usual spelling: of its view and of its download."""
    return file_path(directory, name), download_path(directory, name)


@lru_cache(4096)
def _entity_headers(name: str, attachment: bool) -> Mapping[str, str]:
    """The headers that depend on the name of the file, and on whether a browser is to save it."""
    kind = content_type(name)
    disposition = content_disposition("attachment" if attachment else "inline", name)
    headers = {
        hdrs.CONTENT_DISPOSITION: disposition,
        hdrs.CONTENT_TYPE: kind,
        "X-Content-Type-Options": "nosniff",
    }
    if active(kind) and not attachment:
        headers["Content-Security-Policy"] = SANDBOX
    return headers


async def upload(request: web.Request) -> web.Response:
    """POST, PUT ``/storage/:ns/:file``: store the body. Everything that can be refused without the
    body is refused before it is read."""
    with transfer_of(request, "upload") as transfer:
        return await _upload(request, transfer)


async def _upload(request: web.Request, transfer: Transfer) -> web.Response:
    app = request.app
    directory, name, _ = target(request.rel_url.raw_path)
    transfer.namespace = directory
    request[CHANGE] = Change("upload", directory, name)
    namespace = await permitted(request, Action.CREATE, directory)
    incoming = Upload(request, transfer)
    is_exclusive = publishing.exclusive(request)
    expect = await publishing.expected(request, directory, name, exclusive=is_exclusive)
    if transfer.id:
        app[PROGRESS].start(transfer, incoming.size)
    with publishing.refusals(exclusive=is_exclusive):
        published = await _store(request, namespace, name, incoming, expect)
    info, etag = published.info, etag_of(published.info)
    return web.json_response(
        {
            "status": "ok",
            "name": name,
            "namespace": directory,
            "size": info.size,
            "etag": etag,
        },
        status=200 if published.replaced else 201,
        headers={hdrs.ETAG: etag, hdrs.LOCATION: file_path(directory, name)},
    )


async def _store(
    request: web.Request, namespace: Namespace, name: str, incoming: Upload, expect: Expect
) -> Published:
    fs = request.app[FILESYSTEM]
    writer = await publishing.in_directory(
        request,
        namespace,
        lambda: fs.create(namespace.name, name, expect=expect, size=incoming.size),
    )
    async with writer:
        await incoming.receive_into(writer)
        await writer.flush()
        return await publishing.publish(request, namespace, name, writer, publishing.Check())


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/:ns/:file``, if its conditions (If-Match and others) hold."""
    app = request.app
    directory, name, _ = target(request.rel_url.raw_path)
    request[CHANGE] = change = Change("delete", directory, name)
    namespace = await permitted(request, Action.DELETE, directory)
    try:
        current = await publishing.current(request, directory, name)
        publishing.require_fresh(request, current)
        expect = expectation(request.method, request.headers, current, clock.unix())
        async with app[NAMESPACES].guard(namespace, name) as guarded:
            anonymous_read = app[CONFIG].anonymous_read
            fresh = guarded.namespace
            require(request[PRINCIPAL], Action.DELETE, fresh, anonymous_read=anonymous_read)
            await shielded(done(_delete(app[FILESYSTEM], guarded, name, expect), change))
    except IsFolder:
        raise Problem(
            409, "This is a folder: to delete it and all in it, end its path with a slash."
        ) from None
    return web.json_response({"status": "ok", "name": name, "namespace": directory})


async def _delete(fs: FileSystem, guarded: Guarded, path: str, expect: Expect) -> None:
    deleted = await fs.delete(guarded.namespace.name, path, expect=expect)
    guarded.add(-1, -deleted.size)
