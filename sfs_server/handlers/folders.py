"""Folders: make and delete them. Move them, and files.

What is in a folder is shown by :mod:`sfs_server.handlers.index`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import hdrs, web

from gfs import clock
from gfs.api import FileSystem
from gfs.errors import (
    AlreadyExists,
    IsFolder,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    StoreUnavailable,
)
from gfs.paths import within
from gfs.threads import shielded
from gfs.types import ABSENT, ANYTHING, Entry, Expect, FileInfo, FolderInfo, Moved
from sfs_server.auth import Action, Namespace, require
from sfs_server.errors import PRECONDITION_FAILED, RETRY_AFTER_SECONDS, Problem
from sfs_server.http import (
    Target,
    destination,
    etag_of,
    expectation,
    file_path,
    folder_path,
    overwrites,
    refuse_depth,
    refuse_part,
    refuse_stale,
    target,
)
from sfs_server.logs import Change
from sfs_server.namespaces import Guarded
from sfs_server.web import (
    CHANGE,
    CONFIG,
    FILESYSTEM,
    NAMESPACES,
    PRINCIPAL,
    PROXIES,
    UPLOADS,
    done,
    permitted,
)

MOST_COUNTED = 10_000
"""How many entries of a folder are counted while its locks are held, so that its namespace can be
said to have so many files less or more. Where there are more, the namespace is counted later."""

_T = TypeVar("_T")


async def refuse_upload(request: web.Request) -> web.Response:
    """POST, PUT ``/storage/:ns/:path/``: a file is uploaded under its own name, or by tus, which
    names it in a header field."""
    directory, path, _ = target(request.rel_url.raw_path)
    request[CHANGE] = Change("upload", directory, path)
    await permitted(request, Action.CREATE, directory)
    refuse_part(request.headers)
    raise Problem(
        400,
        "A path that ends with a slash is that of a folder. To upload a file, write its name "
        "behind the slash; to make a folder, use MKCOL.",
    )


async def make(request: web.Request) -> web.Response:
    """MKCOL ``/storage/:ns/:path/``, also without the slash: make the folder, and those above it
    that are missing (RFC 4918 §9.3)."""
    app, fs = request.app, request.app[FILESYSTEM]
    directory, path, _ = target(request.rel_url.raw_path)
    request[CHANGE] = change = Change("create a folder", directory, path)
    namespace = await permitted(request, Action.CREATE, directory)
    if request.body_exists:
        raise Problem(415, "A folder is made without a body.")
    current = await _entry(fs, directory, path)
    if current is not None or not path:
        raise _exists(current)
    _refuse_stale(request, None)
    async with app[NAMESPACES].guard(namespace, path) as guarded:
        _require(request, Action.CREATE, guarded)
        making = _in_directory(fs, directory, lambda: fs.make_folder(directory, path))
        try:
            await shielded(done(making, change))
        except AlreadyExists:
            raise _exists(await _entry(fs, directory, path)) from None
    return web.json_response(
        {"status": "ok", "name": path, "namespace": directory},
        status=201,
        headers={hdrs.LOCATION: folder_path(directory, path)},
    )


def _exists(current: Entry | None) -> Problem:
    """The response to a MKCOL where ``current`` is (§9.3.1)."""
    if isinstance(current, FileInfo):
        allow = "DELETE, GET, HEAD, MOVE, OPTIONS, POST, PUT"
        return Problem(405, "A file has that name.", {hdrs.ALLOW: allow})
    return Problem(405, "The folder exists.", {hdrs.ALLOW: "DELETE, GET, HEAD, MOVE, OPTIONS"})


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/:ns/:path/``: delete the folder and all below it, if the conditions of the
    request (If-Match and others) hold."""
    app, fs = request.app, request.app[FILESYSTEM]
    directory, path, _ = target(request.rel_url.raw_path)
    request[CHANGE] = change = Change("delete a folder", directory, path)
    namespace = await permitted(request, Action.DELETE, directory)
    refuse_depth(request.headers)
    if not path:
        raise Problem(
            409,
            "This is the namespace itself. To delete it, and all that is in it, use DELETE "
            f"/storage/namespaces/{directory}.",
        )
    current = await _entry(fs, directory, path)
    if current is None:
        raise NoSuchFolder(path)
    if isinstance(current, FileInfo):
        raise Problem(409, "This is a file: to delete it, leave out the slash at the end.")
    _refuse_stale(request, current)
    async with app[NAMESPACES].guard(namespace, path) as guarded:
        _require(request, Action.DELETE, guarded)
        await shielded(done(_remove(fs, guarded, path), change))
    return web.json_response({"status": "ok", "name": path, "namespace": directory})


async def _remove(fs: FileSystem, guarded: Guarded, path: str) -> None:
    directory = guarded.namespace.name
    count = await _count(fs, directory, await fs.stat_folder(directory, path))
    await fs.remove_folder(directory, path)
    count.subtract(guarded)


async def move(request: web.Request) -> web.Response:
    """MOVE ``/storage/:ns/:path``, of a folder also with a slash behind it, to ``Destination``, if
    the conditions of the request hold for what is moved (RFC 4918 §9.9)."""
    app, fs, headers = request.app, request.app[FILESYSTEM], request.headers
    source = target(request.rel_url.raw_path)
    request[CHANGE] = change = Change("move", source.namespace, source.path)
    to = destination(headers, _hosts(request))
    change.to = to.namespace, to.path
    overwrite = overwrites(headers)
    namespace = await permitted(request, Action.DELETE, source.namespace)
    to_namespace = await permitted(request, Action.CREATE, to.namespace)
    _refuse_ends(source, to)
    current = await _entry(fs, source.namespace, source.path)
    if current is None:
        raise NoSuchFolder(source.path) if source.folder else NoSuchFile(source.path)
    change.folder = isinstance(current, FolderInfo)
    if change.folder:
        refuse_depth(headers)
    elif source.folder:
        raise Problem(409, "This is a file: to move it, leave out the slash at the end.")
    elif to.folder:
        raise Problem(400, "The Destination of a file has its name behind the last slash.")
    _refuse_stale(request, current)
    expect = expectation("MOVE", headers, current, clock.unix())
    moving = app[NAMESPACES].moving(
        namespace, source.path, to_namespace, to.path, folder=change.folder
    )
    async with moving as (here, there):
        _require(request, Action.DELETE, here)
        _require(request, Action.CREATE, there)
        await app[UPLOADS].sessions.note_move(here, source.path)
        one = _Move(fs, here, source.path, there, to.path, expect, overwrite)
        moved = await shielded(done(one.make(), change))
    return _moved(moved, to)


def _hosts(request: web.Request) -> frozenset[str]:
    """The hosts under which the client may know this service."""
    fields = request.headers
    forwarded = fields.getall("X-Forwarded-Host", ())
    return request.app[PROXIES].hosts(request.remote, fields.getall(hdrs.HOST, ()), forwarded)


def _refuse_ends(source: Target, to: Target) -> None:
    """Raise Problem 403 or MovesIntoItself for two ends between which nothing can be moved."""
    if not source.path:
        raise Problem(403, "A namespace cannot be moved.")
    if source.namespace == to.namespace:
        if within(to.path, source.path) or within(source.path, to.path):
            raise MovesIntoItself(to.path)
    elif not to.path:
        raise Problem(403, "A namespace cannot be replaced: the Destination has no name in it.")


def _moved(moved: Moved, to: Target) -> web.Response:
    """The response to a move that was made (§9.9.4)."""
    document: dict[str, object] = {"status": "ok", "name": to.path, "namespace": to.namespace}
    if isinstance(moved.entry, FileInfo):
        tag = etag_of(moved.entry)
        headers = {hdrs.LOCATION: file_path(to.namespace, to.path), hdrs.ETAG: tag}
        document["etag"] = tag
    else:
        headers = {hdrs.LOCATION: folder_path(to.namespace, to.path)}
    if moved.replaced is not None:
        return web.Response(status=204, headers=headers)
    return web.json_response(document, status=201, headers=headers)


@dataclass(frozen=True, slots=True)
class _Count:
    """How many files something is, and how many bytes; None where that is not known."""

    files: int | None
    size: int = 0

    def add(self, guarded: Guarded, sign: int = 1) -> None:
        """Have ``guarded`` note that it has these files more, or, with the ``sign`` -1, less."""
        if self.files is None:
            guarded.not_counted()
        else:
            guarded.add(sign * self.files, sign * self.size)

    def subtract(self, guarded: Guarded) -> None:
        """Have ``guarded`` note that it has these files less."""
        self.add(guarded, -1)


async def _count(fs: FileSystem, directory: str, entry: Entry | None) -> _Count:
    """Count ``entry`` and all below it."""
    if entry is None:
        return _Count(0)
    if isinstance(entry, FileInfo):
        return _Count(1, entry.size)
    usage = await fs.usage(directory, entry.path, most=MOST_COUNTED)
    return _Count(usage.files, usage.size) if usage.complete else _Count(None)


@dataclass(frozen=True, slots=True)
class _Move:
    """One move, both of whose ends are locked."""

    fs: FileSystem
    here: Guarded
    path: str
    there: Guarded
    to_path: str
    expect: Expect
    overwrite: bool

    async def make(self) -> Moved:
        """Move, and note what each of the namespaces has more or less. Raises what
        ``FileSystem.move`` raises; Problem 412 if something must not be replaced, and Problem 503
        if the store did not respond in time, and what was to be moved is still at its place."""
        fs, here, there = self.fs, self.here.namespace.name, self.there.namespace.name
        before = await _entry(fs, there, self.to_path)
        if before is not None and not self.overwrite:
            raise _taken()
        replaced = await _count(fs, there, before)
        moving = await _entry(fs, here, self.path)
        within_one = here == there and isinstance(moving, FolderInfo)
        count = _Count(0) if within_one else await _count(fs, here, moving)
        try:
            moved = await _in_directory(fs, there, self._move)
        except StoreUnavailable as error:
            moved = await self._look(before, error)
        replaced.subtract(self.there)
        if within_one:
            self.here.moved()
        else:
            count.subtract(self.here)
            count.add(self.there)
        return moved

    async def _move(self) -> Moved:
        try:
            return await self.fs.move(
                self.here.namespace.name,
                self.path,
                self.there.namespace.name,
                self.to_path,
                expect=self.expect,
                expect_there=ANYTHING if self.overwrite else ABSENT,
            )
        except AlreadyExists:
            raise _taken() from None

    async def _look(self, before: Entry | None, error: StoreUnavailable) -> Moved:
        """What came of a move whose end the store has not reported: the locks keep others from
        changing either end, so what is there now says it. Raises ``error`` if it does not."""
        try:
            left = await _entry(self.fs, self.here.namespace.name, self.path)
            arrived = await _entry(self.fs, self.there.namespace.name, self.to_path)
        except StoreUnavailable:
            raise error from None
        if left is None and arrived is not None:
            return Moved(arrived, before)
        if left is not None:
            raise Problem(
                503,
                "The store did not respond in time. What was to be moved was still at its old "
                "place afterwards: look there before you try again.",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from error
        raise error


def _taken() -> Problem:
    return Problem(412, "Something is at the Destination, and Overwrite: F keeps it.")


async def _entry(fs: FileSystem, directory: str, path: str) -> Entry | None:
    """The file or folder that is at ``path`` now, not one that is cached; None if there is
    neither."""
    fs.forget(directory, path)
    with suppress(NoSuchFile, NoSuchFolder):
        try:
            return await (fs.stat(directory, path) if path else fs.stat_folder(directory, path))
        except IsFolder:
            return await fs.stat_folder(directory, path)
    return None


async def _in_directory(fs: FileSystem, directory: str, step: Callable[[], Awaitable[_T]]) -> _T:
    """Return ``step()``, for which the directory of a namespace, which is locked, is made if a
    crash came between the making of its row and of its directory."""
    try:
        return await step()
    except NoSuchDirectory:
        await fs.make_directory(directory)
        return await step()


def _refuse_stale(request: web.Request, current: Entry | None) -> None:
    if refuse_stale(request.headers, current, clock.unix()):
        raise Problem(412, PRECONDITION_FAILED)


def _require(request: web.Request, action: Action, guarded: Guarded) -> Namespace:
    """The namespace that is locked, if the caller may still do ``action`` in it."""
    anonymous_read = request.app[CONFIG].anonymous_read
    return require(request[PRINCIPAL], action, guarded.namespace, anonymous_read=anonymous_read)
