"""What an upload may publish, and its publish, whichever way its bytes have come.

Twice it is decided whether an upload may be published: when it starts, so that bytes are not sent
in vain, and again when all have come, as things are then. ``permitted`` and ``expected`` say so at
the start, and the engine when it is asked for a Writer (``in_directory``). ``publish`` decides it
again, in one short transaction that holds the locks of the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from gfs import clock
from gfs.api import Writer
from gfs.errors import AlreadyExists, NoSuchDirectory, NoSuchFile, NoSuchFolder
from gfs.threads import shielded
from gfs.types import Expect, FileInfo, Published
from sfs_server.auth import Action, Namespace, require
from sfs_server.errors import PRECONDITION_FAILED, Problem
from sfs_server.http import expectation, needs_current, refuse_stale
from sfs_server.namespaces import Guarded
from sfs_server.web import CHANGE, CONFIG, FILESYSTEM, NAMESPACES, PRINCIPAL, done

_T = TypeVar("_T")


def exclusive(request: web.Request) -> bool:
    """Whether the upload must not replace a file. Raises Problem 400 for a PUT whose query says so:
    a PUT replaces, and a client that expects otherwise must not lose a file by it."""
    if request.method == "POST":
        return not overwrites(request)
    if request.query_string and set(request.query.getall("overwrite", [])) - {"true"}:
        raise Problem(400, "A PUT replaces a file. To keep it, send If-None-Match: *, or use POST.")
    return False


def overwrites(request: web.Request) -> bool:
    """Whether the query says ``?overwrite=true``, and nothing else of it."""
    return bool(request.query_string) and set(request.query.getall("overwrite", [])) == {"true"}


async def expected(request: web.Request, directory: str, path: str, *, exclusive: bool) -> Expect:
    """What the store must find at ``path``, before it takes bytes and again at the commit. Raises
    AlreadyExists and Problem 412 if the version that is there now does not fit."""
    present: FileInfo | None = None
    if needs_current(request.headers):
        with suppress(NoSuchFile):
            present = await current(request, directory, path)
        if exclusive and present is not None:
            raise AlreadyExists(path)  # it precedes the conditions (RFC 9110 §13.2.1)
        require_fresh(request, present)
    expect = expectation(request.method, request.headers, present, clock.unix())
    return replace(expect, absent=True) if exclusive else expect


async def current(request: web.Request, directory: str, path: str) -> FileInfo:
    """The version that is there now, not one that is cached: a request must not be refused because
    of a version that another process has replaced. Raises NoSuchFile."""
    fs = request.app[FILESYSTEM]
    fs.forget(directory, path)
    return await fs.stat(directory, path)


def require_fresh(request: web.Request, current: FileInfo | None) -> None:
    """Raise Problem 412 unless the conditions of the request hold for ``current``."""
    if refuse_stale(request.headers, current, clock.unix()):
        raise Problem(412, PRECONDITION_FAILED)


async def in_directory(
    request: web.Request, namespace: Namespace, opening: Callable[[], Awaitable[_T]]
) -> _T:
    """What ``opening`` returns, which needs the directory of ``namespace``: if a crash came between
    creating its row and its directory, it is made now."""
    try:
        return await opening()
    except NoSuchDirectory:
        async with request.app[NAMESPACES].guard(namespace):
            await request.app[FILESYSTEM].make_directory(namespace.name)
        return await opening()


@contextmanager
def refusals(*, exclusive: bool) -> Iterator[None]:
    """Turn what the engine raises in the body, of an upload that is ``exclusive`` or not, into what
    its client gets."""
    try:
        yield
    except AlreadyExists:
        if exclusive:
            raise
        raise Problem(412, "A file of that name exists.") from None  # by If-None-Match: *
    except NoSuchFolder:
        raise Problem(
            409, "The folder was moved or deleted during the upload: nothing is stored."
        ) from None


class Check:
    """What is done in the transaction of a publish besides."""

    async def before(self, guarded: Guarded) -> None:
        """The locks are held, and nothing is published yet: raise if nothing may be."""

    def after(self, guarded: Guarded, published: Published) -> None:
        """It was published."""


async def publish(
    request: web.Request, namespace: Namespace, path: str, writer: Writer, check: Check
) -> Published:
    """Publish what ``writer`` has at ``path``. It is done as a whole, or it raises, also when it is
    cancelled. The caller has called ``writer.flush``, and aborts."""
    anonymous_read = request.app[CONFIG].anonymous_read
    # What the caller may do can have changed during the upload. Whether their token has expired
    # meanwhile does not matter.
    async with request.app[NAMESPACES].guard(namespace, path) as guarded:
        require(request[PRINCIPAL], Action.CREATE, guarded.namespace, anonymous_read=anonymous_read)
        await check.before(guarded)
        return await shielded(done(_commit(writer, guarded, check), request[CHANGE]))


async def _commit(writer: Writer, guarded: Guarded, check: Check) -> Published:
    guarded.require_held()
    published = await writer.commit()
    replaced = published.replaced
    if replaced is None:
        guarded.add(1, published.info.size)
    else:
        guarded.add(0, published.info.size - replaced.size)
    check.after(guarded, published)
    return published
