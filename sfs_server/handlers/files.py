"""Files: view, download, upload, delete. Listing is in :mod:`sfs_server.handlers.listings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from aiohttp import hdrs, web

from gfs import clock
from gfs.errors import AlreadyExists, NoSuchDirectory, NoSuchFile
from gfs.threads import shielded
from gfs.types import Expect, FileInfo, Published
from sfs_server.auth import Action, Namespace, publicly_readable, require
from sfs_server.errors import Problem
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
    file_target,
    http_date,
    new_boundary,
    plan,
    refuse_stale,
    unsatisfied_range,
)
from sfs_server.progress import Transfer
from sfs_server.transfer import Upload, send, transfer_of
from sfs_server.web import (
    CHANGE,
    CONFIG,
    CREDENTIALED,
    FILESYSTEM,
    LINK,
    NAMESPACES,
    PRINCIPAL,
    PROGRESS,
    changing,
    done,
)

SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What an uploaded page may do when it is shown on the service's origin: nothing."""

_NOTHING = ByteRange(0, 0)


async def view(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/:ns/:file``: shown in the browser where it can be."""
    with transfer_of(request, "download") as transfer:
        return await _serve(request, transfer, attachment=False)


async def download(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/download/:ns/:file``: the same bytes, saved by the browser."""
    with transfer_of(request, "download") as transfer:
        return await _serve(request, transfer, attachment=True)


async def _serve(
    request: web.Request, transfer: Transfer, *, attachment: bool
) -> web.StreamResponse:
    app, raw_path = request.app, request.rel_url.raw_path
    directory, name = file_target(raw_path)
    transfer.namespace = directory
    if request.query_string and "archive" in request.query:
        raise Problem(400, "?archive= is not supported: get each file by itself.")
    anonymous_read = app[CONFIG].anonymous_read
    namespace = await app[NAMESPACES].resolve(directory, request[PRINCIPAL], stale_ok=True)
    if LINK in request:
        namespace = request[LINK].same(namespace)
    require(request[PRINCIPAL], Action.READ, namespace, anonymous_read=anonymous_read)
    # Another spelling of the target (a query, an address, "/./") is another entry of a cache, which
    # no upload would evict.
    public = (
        not request[CREDENTIALED]
        and request.raw_path in _canonical(directory, name)
        and namespace is not None
        and publicly_readable(namespace, anonymous_read=anonymous_read)
    )
    _look_again(request, directory, name)
    async with await app[FILESYSTEM].open(directory, name) as reader:
        info = reader.info
        planned = plan(request.method, request.headers, info, clock.unix())
        headers = _version_headers(info, public=public)
        if planned.status == 412:
            raise Problem(412, "The file is not the version that the request requires.", headers)
        if planned.status == 416:
            headers[hdrs.CONTENT_RANGE] = unsatisfied_range(info.size)
            raise Problem(416, f"The file has {info.size} bytes: no range begins in it.", headers)
        if planned.status == 304:
            app[PROGRESS].start(transfer, 0)
            return web.Response(status=304, headers=headers)
        body = _describe(headers, planned.ranges, info, attachment=attachment)
        if planned.status == 206 and isinstance(body, ByteRange):
            headers[hdrs.CONTENT_RANGE] = content_range(body, info.size)
        response = web.Response(status=planned.status, headers=headers)
        app[PROGRESS].start(transfer, body.length)
        await send(request, response, reader, body, transfer)
        return response


def _version_headers(info: FileInfo, *, public: bool) -> dict[str, str]:
    return {
        hdrs.ETAG: etag_of(info),
        # Never later than Date (RFC 9110 §8.8.2.1): a clock may have been set back since.
        hdrs.LAST_MODIFIED: http_date(min(info.modified_ns, clock.unix_ns())),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "public, max-age=0, s-maxage=30, must-revalidate"
        if public
        else "private, no-cache",
        hdrs.VARY: "Authorization, Origin",
    }


def _describe(
    headers: dict[str, str], ranges: tuple[ByteRange, ...], info: FileInfo, *, attachment: bool
) -> ByteRange | Multipart:
    """Add what describes the body to ``headers``, and return the body."""
    headers.update(_entity_headers(info.name, attachment))
    if len(ranges) > 1:
        body = byteranges(ranges, info.size, headers[hdrs.CONTENT_TYPE], new_boundary())
        headers[hdrs.CONTENT_TYPE] = body.content_type
        return body
    return ranges[0] if ranges else _NOTHING


@lru_cache(4096)
def _canonical(directory: str, name: str) -> tuple[str, str]:
    """The paths of a file as they are written: of its view and of its download."""
    return file_path(directory, name), download_path(directory, name)


@lru_cache(4096)
def _entity_headers(name: str, attachment: bool) -> Mapping[str, str]:
    """What follows from a file's name and how it is asked for."""
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
    """POST, PUT ``/storage/:ns/:file``: all that can be refused is, before the body is read."""
    with transfer_of(request, "upload") as transfer:
        return await _upload(request, transfer)


async def _upload(request: web.Request, transfer: Transfer) -> web.Response:
    directory, name = file_target(request.rel_url.raw_path)
    transfer.namespace = directory
    app, principal = request.app, request[PRINCIPAL]
    changing(request, "upload", directory, name)
    namespace = await app[NAMESPACES].resolve(directory, request[PRINCIPAL])
    require(principal, Action.CREATE, namespace, anonymous_read=app[CONFIG].anonymous_read)
    assert namespace is not None  # noqa: S101 - require() has answered 404 for None  # nosec B101
    incoming = Upload(request, transfer)
    expect = await _expect(request, directory, name)
    app[PROGRESS].start(transfer, incoming.size)
    try:
        published = await _store(request, namespace, name, incoming, expect)
    except AlreadyExists:
        if _exclusive(request):
            raise
        raise Problem(412, "A file of that name exists.") from None  # by If-None-Match: *
    info, path = published.info, file_path(directory, name)
    return web.json_response(
        {
            "status": "ok",
            "name": name,
            "namespace": directory,
            "size": info.size,
            "etag": etag_of(info),
        },
        status=200 if published.replaced else 201,
        headers={hdrs.ETAG: etag_of(info), hdrs.LOCATION: path},
    )


async def _expect(request: web.Request, directory: str, name: str) -> Expect:
    """What the store must find at the commit. Raises Problem 412 if it cannot any more, by what is
    there now: a refusal is a decision too, and not made by what is remembered."""
    request.app[FILESYSTEM].forget(directory, name)
    current = await _current(request, directory, name)
    exclusive = _exclusive(request)
    if exclusive and current is not None:
        raise AlreadyExists(name)  # comes before the conditions (RFC 9110 §13.2.1)
    _refuse_stale(request, current)
    expect = expectation(request.method, request.headers, current, clock.unix())
    return replace(expect, absent=True) if exclusive else expect


def _look_again(request: web.Request, directory: str, name: str) -> None:
    """Believe nothing that is remembered of a file, if the request asks for that (RFC 9111
    §5.2.1.4): a gateway does, when it has just seen another process change the file."""
    if "no-cache" in request.headers.get(hdrs.CACHE_CONTROL, "").lower():
        request.app[FILESYSTEM].forget(directory, name)


def _exclusive(request: web.Request) -> bool:
    """Whether the upload must not replace a file. Problem 400 for a PUT that says so in a query:
    PUT replaces, and a client that asks for something else must not lose a file by it."""
    replace = request.query.getall("overwrite", []) if request.query_string else []
    if request.method == "POST":
        return set(replace) != {"true"}
    if set(replace) - {"true"}:
        raise Problem(400, "A PUT replaces a file. To keep it, send If-None-Match: *, or use POST.")
    return False


def _refuse_stale(request: web.Request, current: FileInfo | None) -> None:
    if refuse_stale(request.headers, current, clock.unix()):
        raise Problem(412, "The file is not the version that the request requires.")


async def _current(request: web.Request, directory: str, name: str) -> FileInfo | None:
    try:
        return await request.app[FILESYSTEM].stat(directory, name)
    except NoSuchFile:
        return None


async def _store(
    request: web.Request, namespace: Namespace, name: str, incoming: Upload, expect: Expect
) -> Published:
    fs, namespaces = request.app[FILESYSTEM], request.app[NAMESPACES]
    anonymous_read = request.app[CONFIG].anonymous_read
    try:
        writer = await fs.create(namespace.name, name, expect=expect, size=incoming.size)
    except NoSuchDirectory:
        # The row is there and the directory is not: a crash came between the two.
        async with namespaces.guard(namespace):
            await fs.make_directory(namespace.name)
        writer = await fs.create(namespace.name, name, expect=expect, size=incoming.size)
    async with writer:
        await incoming.receive_into(writer)
        await writer.flush()
        # The rights may have changed while the bytes came; the token's expiry does not matter now.
        async with namespaces.guard(namespace, name) as fresh:
            require(request[PRINCIPAL], Action.CREATE, fresh, anonymous_read=anonymous_read)
            return await shielded(done(writer.commit(), request[CHANGE]))


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/:ns/:file``; honours If-Match."""
    directory, name = file_target(request.rel_url.raw_path)
    app, principal = request.app, request[PRINCIPAL]
    anonymous_read = app[CONFIG].anonymous_read
    change = changing(request, "delete", directory, name)
    namespace = await app[NAMESPACES].resolve(directory, request[PRINCIPAL])
    require(principal, Action.DELETE, namespace, anonymous_read=anonymous_read)
    assert namespace is not None  # noqa: S101 - require() has answered 404 for None  # nosec B101
    app[FILESYSTEM].forget(directory, name)  # a refusal is a decision too
    current = await app[FILESYSTEM].stat(directory, name)
    _refuse_stale(request, current)
    expect = expectation(request.method, request.headers, current, clock.unix())
    async with app[NAMESPACES].guard(namespace, name) as fresh:
        require(principal, Action.DELETE, fresh, anonymous_read=anonymous_read)
        deleting = app[FILESYSTEM].delete(directory, name, expect=expect)
        await shielded(done(deleting, change))
    return web.json_response({"status": "ok", "name": name, "namespace": directory})
