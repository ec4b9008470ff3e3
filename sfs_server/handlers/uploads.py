"""Uploads that can be resumed, by tus 1.0.0 (:mod:`sfs_server.http.tus`): start one, ask how far it
is, go on with it, give it up.

A POST that has the whole file in its body is an upload like any other, and is published by it. All
others make a session (:mod:`sfs_server.uploads`). A PATCH receives bytes; the one that brings the
last byte publishes.

An upload of which all bytes have come, but that is not published (a refusal, a lost connection, a
killed process), is said to lack its last byte by HEAD. Clients take an upload that lacks nothing
for one that has succeeded, and would not ask for it to be published. They send that byte again, and
that PATCH publishes, as does one without bytes at the end.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from hashlib import sha256

from aiohttp import hdrs, web

from gfs import clock
from gfs.api import Assembly, FileSystem, Sink
from gfs.errors import (
    AlreadyExists,
    GfsError,
    IsFolder,
    NoSuchDirectory,
    NoSuchFolder,
    NotAFolder,
    StoreFull,
    VersionMismatch,
)
from gfs.paths import check_path, parents
from gfs.threads import shielded
from gfs.types import Bytes, Published
from sfs_server import publishing
from sfs_server.auth import Action, signed_in
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.http import etag, file_path, http_date, refuse_parameters, target, tus
from sfs_server.logs import Change
from sfs_server.namespaces import Guarded
from sfs_server.progress import Transfer
from sfs_server.transfer import (
    Segment,
    digest_mismatch,
    end_resumed,
    resumed_transfer,
    too_large,
    transfer_of,
)
from sfs_server.uploads import Overtaken, Session, Uploads, new_id
from sfs_server.web import CHANGE, CONFIG, FILESYSTEM, PRINCIPAL, PROGRESS, UPLOADS, done, permitted

_REFUSED = (
    *(Problem, AlreadyExists, VersionMismatch, IsFolder, NotAFolder, NoSuchDirectory, StoreFull),
)
"""What a publish raises that has certainly published nothing."""

_log = logging.getLogger(__name__)


class _WrongDigest(Exception):
    """The file does not have the digest that was announced for it."""


async def create(request: web.Request) -> web.Response:
    """POST ``/storage/:ns/:path`` and ``/storage/:ns/[:path/]`` with ``Tus-Resumable``: start an
    upload of that file, or of one in that folder."""
    said = tus.creation(request.headers)
    directory, path, folder = target(request.rel_url.raw_path)
    if folder:
        name = tus.relative_path(said.metadata)
        path = check_path(f"{path}/{name}" if path else name)
    request[CHANGE] = Change("start an upload", directory, path)
    with transfer_of(request, "upload") as transfer:
        transfer.namespace = directory
        wanted = await _wanted(request, transfer, said, directory, path)
        with publishing.refusals(exclusive=wanted.exclusive):
            if _is_whole(request, wanted):
                session = await _store_whole(request, transfer, wanted, said.checksum)
            else:
                session = await _start(request, wanted, said.checksum)
    return web.Response(
        status=201,
        headers={
            hdrs.LOCATION: f"/storage/uploads/{session.id}",
            "Upload-Offset": str(session.received),
            **_headers(session),
        },
    )


async def _wanted(
    request: web.Request, transfer: Transfer, said: tus.Creation, directory: str, path: str
) -> Session:
    """The upload that the client wants to start. Raises what can be refused before the store is
    asked."""
    namespace = await permitted(request, Action.CREATE, directory)
    if request.query_string:
        refuse_parameters(request.query)
    _require_size(request, said.length)
    exclusive = publishing.exclusive(request)
    expect = await publishing.expected(request, directory, path, exclusive=exclusive)
    id_ = new_id()
    return Session(
        id=id_,
        owner=signed_in(request[PRINCIPAL]),
        namespace=namespace,
        path=path,
        folder="",
        expect=expect,
        exclusive=exclusive,
        size=said.length,
        digest=said.digest,
        metadata=said.raw,
        transfer=transfer.id or id_,
    )


def _is_whole(request: web.Request, wanted: Session) -> bool:
    """Whether the body has all bytes of the file in it; of none, if there are none."""
    return hdrs.TRANSFER_ENCODING not in request.headers and wanted.size == (
        request.content_length or 0
    )


async def _store_whole(
    request: web.Request, transfer: Transfer, wanted: Session, checksum: bytes | None
) -> Session:
    """Publish the file that is in the body. Its row is for a client that asks about it later."""
    request[CHANGE] = Change("upload", wanted.namespace.name, wanted.path)
    uploads, fs = request.app[UPLOADS], request.app[FILESYSTEM]
    namespace, path, size = wanted.namespace, wanted.path, wanted.size or 0
    transfer.id = wanted.transfer
    request.app[PROGRESS].start(transfer, size)
    body = Segment(request, transfer, size=size, checksum=checksum, digest=wanted.digest)
    writer = await publishing.in_directory(
        request,
        namespace,
        lambda: fs.create(namespace.name, path, expect=wanted.expect, size=size),
    )
    async with writer:
        await body.receive_into(writer)
        await writer.flush()
        check = _AddRow(uploads, replace(wanted, received=size))
        await publishing.publish(request, namespace, path, writer, check)
    for event in ("started", "published"):
        uploads.events[event] += 1
    return check.session


class _AddRow(publishing.Check):
    """Adds the row of an upload that was published as a whole."""

    def __init__(self, uploads: Uploads, session: Session) -> None:
        self.session = session
        self._sessions = uploads.sessions

    def after(self, guarded: Guarded, published: Published) -> None:
        expires = self._sessions.kept_until(clock.unix())
        version = published.info.version
        self.session = replace(self.session, published=version, cleared=True, expires=expires)
        self._sessions.add_published(guarded, self.session)


async def _start(request: web.Request, wanted: Session, checksum: bytes | None) -> Session:
    """Start a session, and receive what is in the body. If that fails, nothing is left: the client
    does not know its id."""
    uploads, fs = request.app[UPLOADS], request.app[FILESYSTEM]
    name, path = wanted.namespace.name, wanted.path
    writer = await publishing.in_directory(
        request,
        wanted.namespace,
        lambda: fs.create(name, path, expect=wanted.expect, size=wanted.size),
    )
    await writer.abort()  # it was for what the engine refuses
    folder = await _deepest_folder(fs, name, path)
    session = await uploads.sessions.start(replace(wanted, folder=folder))
    uploads.events["started"] += 1
    request[CHANGE].done = True
    try:
        return await _receive(request, session, 0, checksum)
    except BaseException:
        await shielded(_discard(uploads, session))
        raise


async def _discard(uploads: Uploads, session: Session) -> None:
    """Discard an upload of no further use; if that fails, it expires."""
    try:
        await uploads.discard(session)
    except (GfsError, DatabaseUnavailable, Overtaken) as error:
        _log.warning("an upload of no use is freed when it expires: %s", error)


async def _deepest_folder(fs: FileSystem, directory: str, path: str) -> str:
    """The deepest folder above ``path`` that exists; "" is the directory itself."""
    for folder in reversed(parents(path)):
        with suppress(NoSuchFolder):
            await fs.stat_folder(directory, folder)
            return folder
    return ""


async def head(request: web.Request) -> web.Response:
    """HEAD ``/storage/uploads/:id``: how many bytes are durable. It ends the request that feeds the
    upload."""
    tus.require_version(request.headers)
    session = await _take_over(request)
    if session.published is None:
        request.app[UPLOADS].events["resumed"] += 1
    length = {"Upload-Defer-Length": "1"}
    if session.size is not None:
        length = {"Upload-Length": str(session.size)}
    metadata = {"Upload-Metadata": session.metadata} if session.metadata else {}
    headers = {
        "Upload-Offset": str(_offset(session)),
        hdrs.CACHE_CONTROL: "no-store",
        **length,
        **metadata,
        **_headers(session),
    }
    return web.Response(headers=headers)


def _offset(session: Session) -> int:
    """Where the client is to go on."""
    if session.whole and session.published is None:
        return max(session.received - 1, 0)
    return session.received


async def patch(request: web.Request) -> web.Response:
    """PATCH ``/storage/uploads/:id``: go on with an upload, and publish it if that was the last
    byte; with ``?overwrite=true`` also where the name has been taken meanwhile."""
    said = tus.patch(request.headers)
    replaces = publishing.overwrites(request)
    with _overtaken(request):
        session = await _take_over(request)
        if replaces and session.exclusive:
            expect = replace(session.expect, absent=False)
            session = replace(session, expect=expect, exclusive=False)
        session = await _with_size(request, session, said.length)
        if said.offset != session.received and said.offset != _offset(session):
            raise Problem(
                409,
                f"The upload goes on at byte {_offset(session)}, not at {said.offset}.",
            )
        session = await _receive(request, session, said.offset, said.checksum)
    headers = {"Upload-Offset": str(_offset(session)), **_headers(session)}
    return web.Response(status=204, headers=headers)


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/uploads/:id``: give an upload up, and free its bytes. A file that it has
    published stays."""
    tus.require_version(request.headers)
    with _overtaken(request):
        session = await _take_over(request)
        request[CHANGE] = Change("delete an upload", session.namespace.name, session.path)
        await shielded(done(request.app[UPLOADS].discard(session), request[CHANGE]))
    request.app[UPLOADS].events["deleted"] += 1
    if session.published is None:
        namespace = session.namespace.name
        end_resumed(request, session.transfer, offset=session.received, namespace=namespace)
    return web.Response(status=204)


async def _take_over(request: web.Request) -> Session:
    """The upload of the path, to go on with. Raises NoSuchUpload if the caller has none of that id,
    and Problem 401 and 403."""
    principal, uploads = request[PRINCIPAL], request.app[UPLOADS]
    user, id_ = signed_in(principal), request.match_info["id"]
    if principal.scopes is not None:
        session = await uploads.sessions.find(id_, user)
        if not principal.granted(f"files.{session.namespace.name}", Action.CREATE.value):
            raise Problem(403, "The scopes of this API token do not allow this.")
    return await uploads.take_over(id_, user)


async def _with_size(request: web.Request, session: Session, size: int | None) -> Session:
    """The session with the size that the client says, if it does."""
    if size is None or size == session.size:
        return session
    if session.size is not None:
        raise Problem(400, f"The upload has {session.size} bytes, as was said before.")
    if size < session.received:
        raise Problem(400, f"{session.received} bytes have come already, and that is more.")
    _require_size(request, size)
    return await request.app[UPLOADS].sessions.set_size(session, size)


def _require_size(request: web.Request, size: int | None) -> None:
    limit = request.app[CONFIG].max_upload_bytes
    if 0 < limit < (size or 0):
        raise too_large(limit)


@contextmanager
def _overtaken(request: web.Request) -> Iterator[None]:
    """Respond to a request whose upload another one goes on with."""
    try:
        yield
    except Overtaken:
        request.app[UPLOADS].events["overtaken"] += 1
        raise Problem(
            409, "Another request goes on with this upload: ask by HEAD where it is."
        ) from None


async def _receive(
    request: web.Request, session: Session, offset: int, checksum: bytes | None
) -> Session:
    """Receive the body, which belongs at ``offset``, and publish the upload if it is whole then.
    The session as it is afterwards."""
    uploads = request.app[UPLOADS]
    with (
        uploads.feeding(session) as feeding,
        resumed_transfer(
            request,
            session.transfer,
            offset=offset,
            total=session.size,
            namespace=session.namespace.name,
        ) as transfer,
    ):
        recording = uploads.recording(feeding, session, at_end=checksum is not None)
        body = Segment(
            request,
            transfer,
            size=session.size,
            checksum=checksum,
            arrived=recording.arrived,
            pace=recording.pace,
        )
        if session.whole:
            await body.receive_into(_Nowhere())
        elif request.body_exists:
            await recording.receive(body.receive_into)
            session = recording.session
        if session.whole and session.published is None and transfer.moved == session.size:
            return await _publish(request, session)
    return session


class _Nowhere(Sink):
    """Where bytes go that are durable already."""

    async def write(self, piece: Bytes) -> None:
        pass

    async def abort(self) -> None:
        pass


async def _publish(request: web.Request, session: Session) -> Session:
    """Publish an upload that is whole; the session as it is then. Where that is refused, its bytes
    are kept."""
    uploads = request.app[UPLOADS]
    request[CHANGE] = Change("upload", session.namespace.name, session.path)
    fence = _Fence(uploads, request.app[FILESYSTEM], session)
    try:
        with publishing.refusals(exclusive=session.exclusive):
            async with _assembled(request, session) as assembly:
                await fence.mark()
                await publishing.publish(request, session.namespace, session.path, assembly, fence)
                await shielded(fence.clear(assembly))
    except _WrongDigest:
        await shielded(_discard(uploads, session))  # no other bytes will come
        raise digest_mismatch() from None
    except BaseException as error:
        if isinstance(error, _REFUSED):
            uploads.events["refused"] += 1
        await shielded(fence.unmark(error))
        raise
    uploads.events["published"] += 1
    return fence.session


@asynccontextmanager
async def _assembled(request: web.Request, session: Session) -> AsyncIterator[Assembly]:
    """What has been received, verified and ready to be published."""
    uploads, fs = request.app[UPLOADS], request.app[FILESYSTEM]
    name, ledger = session.namespace.name, uploads.ledger(session)
    assembly = await publishing.in_directory(
        request,
        session.namespace,
        lambda: fs.assemble(name, session.path, ledger, session.received, expect=session.expect),
    )
    async with assembly:
        if session.digest is not None and await _digest(assembly) != session.digest:
            raise _WrongDigest
        await assembly.flush()
        yield assembly


async def _digest(assembly: Assembly) -> bytes:
    """The SHA-256 of the file. Its bytes may have come through several processes, so they are read
    back: 20 GB take some 20 s."""
    seen = sha256()
    async with aclosing(assembly.read()) as pieces:
        async for piece in pieces:
            seen.update(piece)
    return seen.digest()


class _Fence(publishing.Check):
    """Publishes an upload only while this request goes on with it, and records that."""

    def __init__(self, uploads: Uploads, fs: FileSystem, session: Session) -> None:
        self.session = session
        self._sessions = uploads.sessions
        self._fs = fs
        self._marked = False  # by this request
        self._tried = False
        self._guarded: Guarded | None = None

    async def mark(self) -> None:
        """Record that it may have been published from now on."""
        if not self.session.publishing:
            self.session = await self._sessions.set_publishing(self.session, True)
            self._marked = True

    async def before(self, guarded: Guarded) -> None:
        session = self.session
        moved = await self._sessions.hold(guarded, session)
        if moved and not self._marked:
            raise Problem(
                409,
                "This upload was perhaps published before, and moved since. Look for the file, and "
                "upload it anew if it is missing.",
            )
        if session.folder:
            self._fs.forget(session.namespace.name, session.path)
            await self._fs.stat_folder(session.namespace.name, session.folder)
        self._tried = True

    def after(self, guarded: Guarded, published: Published) -> None:
        if not self._marked:  # an earlier request may have published it
            guarded.doubtful()
        version = published.info.version
        self._guarded = guarded
        self._sessions.set_published(guarded, self.session, version)
        self.session = replace(self.session, publishing=False, published=version)

    async def clear(self, assembly: Assembly) -> None:
        """Free what the publish has left over. First it must be recorded that it was published:
        until then the next request of the upload needs all of it."""
        session = self.session
        try:
            if session.published and not (self._guarded and self._guarded.committed):
                await self._sessions.set_published_again(session, session.published)
            await assembly.clear()
            await self._sessions.set_cleared(session)
        except (GfsError, DatabaseUnavailable, Overtaken) as error:
            _log.warning("what an upload has left over is freed when it expires: %s", error)

    async def unmark(self, error: BaseException) -> None:
        """Record that it was not published, if ``error`` says so for sure."""
        if self._marked and (not self._tried or isinstance(error, _REFUSED)):
            try:
                await self._sessions.set_publishing(self.session, False)
            except (Overtaken, DatabaseUnavailable) as other:
                _log.info("an upload stays marked as published, perhaps: %s", other)


def _headers(session: Session) -> dict[str, str]:
    """What every response about an upload has."""
    headers = {"Upload-Expires": http_date(session.expires)}
    if session.published is not None:
        headers[hdrs.ETAG] = etag(session.published)
        headers[hdrs.CONTENT_LOCATION] = file_path(session.namespace.name, session.path)
    return headers
