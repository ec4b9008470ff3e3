"""Files: view, download, upload, delete. They are listed by :mod:`sfs_server.handlers.listings`,
and moved by :mod:`sfs_server.handlers.folders`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from aiohttp import hdrs, web

from gfs import clock
from gfs.api import FileSystem, Reader, Writer
from gfs.errors import AlreadyExists, IsFolder, NoSuchDirectory, NoSuchFile, NoSuchFolder
from gfs.threads import shielded
from gfs.types import Expect, FileInfo, Published
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
    needs_current,
    new_boundary,
    plan,
    refuse_stale,
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
    exclusive = _is_exclusive(request)
    expect = await _expect(request, directory, name, exclusive=exclusive)
    if transfer.id:
        app[PROGRESS].start(transfer, incoming.size)
    try:
        published = await _store(request, namespace, name, incoming, expect)
    except AlreadyExists:
        if exclusive:
            raise
        raise Problem(412, "A file of that name exists.") from None  # by If-None-Match: *
    except NoSuchFolder:
        raise Problem(
            409, "The folder was moved or deleted during the upload: nothing is stored."
        ) from None
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


def _is_exclusive(request: web.Request) -> bool:
    """Whether the upload must not replace a file. Raises Problem 400 for a PUT whose query says so:
    a PUT replaces, and a client that expects otherwise must not lose a file by it."""
    overwrite = set(request.query.getall("overwrite", [])) if request.query_string else set()
    if request.method == "POST":
        return overwrite != {"true"}
    if overwrite - {"true"}:
        raise Problem(400, "A PUT replaces a file. To keep it, send If-None-Match: *, or use POST.")
    return False


async def _expect(request: web.Request, directory: str, name: str, *, exclusive: bool) -> Expect:
    """What the store must find under the name, before it takes bytes and again at the commit.
    Raises AlreadyExists and Problem 412 if the version that is there now does not fit."""
    current: FileInfo | None = None
    if needs_current(request.headers):
        with suppress(NoSuchFile):
            current = await _current(request, directory, name)
        if exclusive and current is not None:
            raise AlreadyExists(name)  # it precedes the conditions (RFC 9110 §13.2.1)
        _refuse_stale(request, current)
    expect = expectation(request.method, request.headers, current, clock.unix())
    return replace(expect, absent=True) if exclusive else expect


async def _current(request: web.Request, directory: str, name: str) -> FileInfo:
    """The version that is there now, not one that is cached: a request must not be refused because
    of a version that another process has replaced. Raises NoSuchFile."""
    fs = request.app[FILESYSTEM]
    fs.forget(directory, name)
    return await fs.stat(directory, name)


def _refuse_stale(request: web.Request, current: FileInfo | None) -> None:
    if refuse_stale(request.headers, current, clock.unix()):
        raise Problem(412, PRECONDITION_FAILED)


async def _store(
    request: web.Request, namespace: Namespace, name: str, incoming: Upload, expect: Expect
) -> Published:
    fs, namespaces = request.app[FILESYSTEM], request.app[NAMESPACES]
    anonymous_read = request.app[CONFIG].anonymous_read
    try:
        writer = await fs.create(namespace.name, name, expect=expect, size=incoming.size)
    except NoSuchDirectory:
        # The row is there and its directory is not: a crash came between creating the two.
        async with namespaces.guard(namespace):
            await fs.make_directory(namespace.name)
        writer = await fs.create(namespace.name, name, expect=expect, size=incoming.size)
    async with writer:
        await incoming.receive_into(writer)
        await writer.flush()
        # What the caller may do can have changed during the upload. Whether their token has expired
        # meanwhile does not matter.
        async with namespaces.guard(namespace, name) as guarded:
            require(
                request[PRINCIPAL], Action.CREATE, guarded.namespace, anonymous_read=anonymous_read
            )
            return await shielded(done(_publish(writer, guarded), request[CHANGE]))


async def _publish(writer: Writer, guarded: Guarded) -> Published:
    published = await writer.commit()
    replaced = published.replaced
    if replaced is None:
        guarded.add(1, published.info.size)
    else:
        guarded.add(0, published.info.size - replaced.size)
    return published


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/:ns/:file``, if its conditions (If-Match and others) hold."""
    app = request.app
    directory, name, _ = target(request.rel_url.raw_path)
    request[CHANGE] = change = Change("delete", directory, name)
    namespace = await permitted(request, Action.DELETE, directory)
    try:
        current = await _current(request, directory, name)
        _refuse_stale(request, current)
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
