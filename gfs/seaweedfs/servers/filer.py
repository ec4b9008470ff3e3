"""The filers: each method is one call that reads or changes entries.

All filers of a cluster serve the same tree. Every process sends everything to the first one in the
order of their addresses, and to the others only while that one fails. A filer that does not respond
is passed over for SUSPECT_SECONDS; one that :mod:`gfs.seaweedfs.watch` has marked lost is passed
over until that module marks it found. Calls that wait for a filer when it is marked lost are given
up at once, if there is another filer to ask. A filer that is restarted responds again within a
second, so when none responds all are tried again for PATIENCE_SECONDS.

Every change of an entry is one ``ObjectTransaction`` with a condition. (A filer passes other calls
with a condition on to the filer that owns the name, and they wait for that one if it is frozen; a
transaction without a ``route_key`` is decided where it arrives.)

A call that was given up may still be carried out, whenever the filer that received it wakes. A call
that replaces or deletes an entry names the chunks that it expects there, which never return once
they were replaced: then it fails. A call that creates an entry expects that there is none, and that
may be true again, after a delete. So a creation names the *fence* of the filer that it is sent to:
an entry with a random ETag. A process that gives a creation up changes that fence, through any
filer, and every creation that the lost filer still holds is refused (``settle``). The same is done
before a creation if a filer was passed over since the last time: a process that was killed gives
nothing up, and what it left with that filer could replace what is created now. One case remains: a
filer that stops for seconds between its own check and its own write, less than a millisecond apart.

A refusal is in one of two places: in the status of gRPC, or inside a response whose status is OK.
Both are turned into errors of :mod:`gfs.errors` here; no other module of the engine looks at them.

A call that failed may have been carried out. All calls here but ``create`` and ``delete`` may
simply be sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from google.protobuf.message import Message

from gfs import clock
from gfs.clock import Deadline
from gfs.errors import InvalidName, StoreFull, StoreUnavailable, VersionMismatch
from gfs.seaweedfs.proto import filer_pb2 as pb
from gfs.seaweedfs.servers.address import Address
from gfs.seaweedfs.servers.master import Masters
from gfs.seaweedfs.servers.rpc import CallFailed, Channels, Method

CALL_SECONDS = 3.0
"""For one call to one filer, which takes about a millisecond."""

PATIENCE_SECONDS = 10.0
"""For all attempts of one call together."""

RETRY_SECONDS = 0.1
"""The time between two of them."""

SUSPECT_SECONDS = 5.0
"""How long a filer that did not respond is asked last."""

ASSIGN_SECONDS = 10.0
"""For one assign, which may make new volumes."""

ASSIGN_FIRST_SECONDS = 2.0
"""The same if there is another filer to ask: this one may have lost its masters."""

LIST_SECONDS = 30.0
"""For one page of a listing."""

PAGE_ENTRIES = 1_000
"""The most entries of a page."""

PAGE_BYTES = 384 * 1024
"""How many bytes of entries end a page: about a thousand small files."""

_EXISTS = 2
_ETAG_MATCHES = 3
_UNMODIFIED_SINCE = 5
_CHUNKS_EQUAL = 9
_PUT = 0
_DELETE = 1
_FULL = ("no free volumes", "no writable volumes", "resourceexhausted")
"""What a filer writes when there is no space: it has no code for that."""

_COMMIT = "commit error"
"""A part of the error text of a filer that does not know whether its store carried a rename out."""

_TOO_LONG = "name too long"
"""A part of the error text of a filer whose store cannot keep so long a name."""

BUCKETS = "/buckets"
"""The directory whose directories are buckets of S3: the filer takes no name there that a bucket
may not have, such as one with a ``~``."""

_FENCES = "~filers"
"""The directory of the fences, next to the namespaces."""

_SERVICE = "/filer_pb.SeaweedFiler/"
_LOOKUP = Method(
    _SERVICE + "LookupDirectoryEntry",
    pb.LookupDirectoryEntryRequest,
    pb.LookupDirectoryEntryResponse,
)
_LIST = Method(_SERVICE + "ListEntries", pb.ListEntriesRequest, pb.ListEntriesResponse)
_DELETION = Method(_SERVICE + "DeleteEntry", pb.DeleteEntryRequest, pb.DeleteEntryResponse)
_TRANSACTION = Method(
    _SERVICE + "ObjectTransaction", pb.ObjectTransactionRequest, pb.ObjectTransactionResponse
)
_PING = Method(_SERVICE + "Ping", pb.PingRequest, pb.PingResponse)
_KV_GET = Method(_SERVICE + "KvGet", pb.KvGetRequest, pb.KvGetResponse)
_KV_PUT = Method(_SERVICE + "KvPut", pb.KvPutRequest, pb.KvPutResponse)
_SUBSCRIBE = Method(
    _SERVICE + "SubscribeLocalMetadata",
    pb.SubscribeMetadataRequest,
    pb.SubscribeMetadataResponse,
)
_RENAME = Method(
    _SERVICE + "StreamRenameEntry", pb.StreamRenameEntryRequest, pb.StreamRenameEntryResponse
)
_ASSIGN = Method(_SERVICE + "AssignVolume", pb.AssignVolumeRequest, pb.AssignVolumeResponse)

_Q = TypeVar("_Q", bound=Message)
_R = TypeVar("_R", bound=Message)


@dataclass(frozen=True, slots=True)
class Assigned:
    """What an assign reserved: ``count`` needles with consecutive keys on one volume, the first of
    them ``fid``, and the HTTP addresses of its servers. A write to one of them writes all
    copies."""

    fid: str
    count: int
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a directory, each as the bytes of a ListEntriesResponse: see ``decode``.
    ``last``: whether none come behind them."""

    messages: list[bytes]
    last: bool


def decode(messages: Sequence[bytes]) -> Sequence[pb.Entry]:
    """The entries of these messages of a Page."""
    response = pb.ListEntriesResponse.FromString(b"".join(messages))
    entries: Sequence[pb.Entry] = response.entries
    return entries


class Filers:
    """The filers of one cluster. ``top``: the directory that holds everything of this store."""

    def __init__(self, channels: Channels, masters: Masters, top: str) -> None:
        self._channels = channels
        self._masters = masters
        self._top = top
        self._fence_directory = f"{top}{'' if top == BUCKETS else '/'}{_FENCES}"
        self._suspect: dict[Address, float] = {}
        self._lost: set[Address] = set()
        self._waiting: dict[Address, set[asyncio.Timeout]] = {}
        self._fences: dict[Address, str] = {}
        self._doubtful: set[Address] = set()
        self._settling = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Filers {self._top} suspect={list(self._suspect)} lost={list(self._lost)}>"

    async def lookup(
        self, directory: str, name: str, *, patience: float = PATIENCE_SECONDS
    ) -> pb.Entry | None:
        """The entry ``name`` of ``directory``, or None if there is none."""
        request = pb.LookupDirectoryEntryRequest(directory=directory, name=name)
        try:
            response = await self._retried(_LOOKUP, request, patience=patience)
        except CallFailed as error:
            if error.absent:
                return None
            raise
        return response.entry

    async def page(
        self,
        directory: str,
        *,
        prefix: str = "",
        after: str = "",
        inclusive: bool = False,
        limit: int,
        omit_chunks: bool = False,
    ) -> Page:
        """At most ``limit`` entries after ``after``, or from it on if ``inclusive``, whose names
        start with ``prefix``, in the order of their bytes; fewer if they have PAGE_BYTES.

        A directory that does not exist is empty. When a filer fails, another one is asked for the
        page. A store that is an SQL database takes % and _ in ``prefix`` for wildcards, and fails
        at a \\ at its end.
        """
        request = pb.ListEntriesRequest(
            directory=directory,
            prefix=prefix,
            startFromFileName=after,
            inclusiveStartFrom=inclusive,
            limit=limit,
            omit_chunks=omit_chunks,
        )
        deadline = Deadline(PATIENCE_SECONDS)
        while True:
            filer = self.preferred
            try:
                async with self._unless_lost(filer):
                    messages, complete = await self._channels.messages(
                        filer.grpc, _LIST, request, LIST_SECONDS, PAGE_BYTES
                    )
                return Page(messages, complete and len(messages) < limit)
            except CallFailed as error:
                self._pass_over(filer)
                await deadline.pause(RETRY_SECONDS, error)

    async def listing(
        self, directory: str, *, prefix: str, after: str, limit: int, omit_chunks: bool = False
    ) -> AsyncGenerator[pb.Entry, None]:
        """Yield at most ``limit`` entries, page by page; otherwise like ``page``. Hold it in
        ``contextlib.aclosing``."""
        while limit > 0:
            page = await self.page(
                directory,
                prefix=prefix,
                after=after,
                limit=min(limit, PAGE_ENTRIES),
                omit_chunks=omit_chunks,
            )
            limit -= len(page.messages)
            for entry in decode(page.messages):
                after = entry.name
                yield entry
            if page.last:
                return

    async def make_directory(self, directory: str, entry: pb.Entry) -> pb.Entry:
        """Create a directory, or leave what is there, also a file; return the entry that is there
        now."""
        deadline = Deadline(PATIENCE_SECONDS)
        while True:
            found = await self.lookup(directory, entry.name)
            if found is not None:
                return found
            try:
                await self.create(directory, entry, over=None)
            except VersionMismatch:
                problem = StoreUnavailable("the directory could not be made")
                await deadline.pause(RETRY_SECONDS, problem)
            except CallFailed as error:
                await deadline.pause(RETRY_SECONDS, error)
                await self.settle(max(deadline.left, RETRY_SECONDS))

    async def changes(
        self, filer: Address, request: pb.SubscribeMetadataRequest
    ) -> AsyncGenerator[pb.SubscribeMetadataResponse, None]:
        """Yield the changes of the tree that are made through ``filer``, until the stream ends.
        Raises CallFailed. Hold it in ``contextlib.aclosing``."""
        stream = self._channels.stream(filer.grpc, _SUBSCRIBE, request, None)
        async with aclosing(stream) as messages:
            async for message in messages:
                yield message

    async def ping(self, filer: Address, seconds: float) -> int:
        """The time by the clock of ``filer``, in nanoseconds since the Unix epoch. Raises
        CallFailed after ``seconds``."""
        response = await self._channels.call(filer.grpc, _PING, pb.PingRequest(), seconds)
        when: int = response.start_time_ns
        return when

    async def create(self, directory: str, entry: pb.Entry, *, over: pb.Entry | None) -> None:
        """Store ``entry`` in one attempt, in the place of ``over`` or, if that is None, as a new
        entry.

        Raises VersionMismatch if another entry is there than ``over``, or if the call must be sent
        again. After CallFailed it is not known whether the entry was stored: if it was to be a new
        one, call ``settle`` before looking it up.
        """
        path = f"{directory}/{entry.name}"
        if over is None and self._doubtful:
            await self.settle(CALL_SECONDS)
        filer = self.preferred
        request = pb.ObjectTransactionRequest(
            lock_key=path,
            mutations=[pb.ObjectMutation(type=_PUT, directory=directory, entry=entry)],
        )
        if over is not None:
            request.condition.CopyFrom(_condition(over))
        else:
            request.condition.CopyFrom(_etag(await self._fence(filer)))
            request.condition_key = f"{self._fence_directory}/{filer}"
        response = await self._ask(filer, _TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            self._fences.pop(filer, None)
            raise VersionMismatch("the file has been replaced")
        _check(response)

    async def settle(self, patience: float) -> None:
        """Change the fences of the filers that were passed over: when this returns, no creation
        that any process has given up can be carried out any more. Raises StoreUnavailable after
        ``patience`` seconds; callers at the same time wait for each other within them."""
        try:
            async with asyncio.timeout(patience), self._settling:
                doubtful, self._doubtful = self._doubtful, set()
                try:
                    while doubtful:
                        await self._change_fence(min(doubtful), patience)
                        doubtful.discard(min(doubtful))
                finally:
                    self._doubtful |= doubtful
        except TimeoutError as error:
            raise StoreUnavailable("no filer responds to make void what was given up") from error

    async def delete(self, directory: str, over: pb.Entry) -> bool:
        """Delete the entry ``over`` and its data, in one attempt. Returns False, having deleted
        nothing, if the entry was not there or had changed.

        After CallFailed it is not known whether it was deleted.
        """
        request = pb.ObjectTransactionRequest(
            lock_key=f"{directory}/{over.name}",
            condition=_condition(over),
            mutations=[
                pb.ObjectMutation(
                    type=_DELETE, directory=directory, name=over.name, is_delete_data=True
                )
            ],
        )
        response = await self._ask(self.preferred, _TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            return False
        _check(response)
        return True

    async def delete_all(
        self, directory: str, names: Sequence[str], *, where: str, of: pb.Entry
    ) -> None:
        """Delete the entries ``names`` of ``directory`` and their data, on the condition that
        ``of``, an entry of the directory ``where``, has not changed.

        Entries that are not there are skipped. Raises VersionMismatch if ``of`` has changed, and
        StoreUnavailable for an entry that cannot be deleted; those after it are left then.
        """
        delete = partial(pb.ObjectMutation, type=_DELETE, directory=directory, is_delete_data=True)
        request = pb.ObjectTransactionRequest(
            lock_key=directory,
            condition=_condition(of),
            condition_key=f"{where}/{of.name}",
            mutations=[delete(name=name) for name in names],
        )
        response = await self._retried(_TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            raise VersionMismatch("the directory has changed")
        _check(response)

    async def rename(self, place: str, to: str, seconds: float) -> None:
        """Move the entry at the path ``place``, with everything below it, to the path ``to``, in
        one attempt of ``seconds`` at most. What is there is replaced: a file by a file, an empty
        directory by a directory.

        On a store with transactions it is one for all readers. Raises VersionMismatch if the filer
        refused it; then nothing was moved. After CallFailed it is not known.

        The filer sends a message for each entry. When it cannot, because the call was given up, it
        ends the transaction without any effect; the last message comes right before its end. (It
        pays no attention to that in ``AtomicRenameEntry``: one that was frozen goes on with it.)
        """
        old_directory, _, old_name = place.rpartition("/")
        # The filer would refuse to move a to ab/c: the one path starts with the other. It compares
        # the directory, and takes a name that has slashes.
        first, _, rest = to.removeprefix(f"{self._top}/").partition("/")
        request = pb.StreamRenameEntryRequest(
            old_directory=old_directory,
            old_name=old_name,
            new_directory=f"{self._top}/{first}",
            new_name=rest,
        )
        filer = self.preferred
        try:
            stream = self._channels.stream(filer.grpc, _RENAME, request, seconds)
            async with self._unless_lost(filer), aclosing(stream) as moved:
                async for _ in moved:
                    pass
        except CallFailed as error:
            if error.refused and _COMMIT not in error.details:
                raise VersionMismatch("the filer refused to move it") from error
            self._pass_over(filer)
            raise

    async def remove_empty(self, directory: str, name: str) -> None:
        """Delete a directory if it is there and empty."""
        await self._retried(_DELETION, pb.DeleteEntryRequest(directory=directory, name=name))

    async def read_note(self, key: str) -> bytes:
        """The value that is stored under ``key``, b"" if there is none."""
        response = await self._retried(_KV_GET, pb.KvGetRequest(key=key.encode()))
        value: bytes = response.value
        return value

    async def write_note(self, key: str, value: bytes) -> None:
        """Store ``value`` under ``key``; b"" deletes what is there."""
        await self._retried(_KV_PUT, pb.KvPutRequest(key=key.encode(), value=value))

    async def assign(self, path: str, count: int) -> Assigned:
        """Reserve ``count`` needles for the file ``path``: the filer chooses the volume by the
        rules that it has for that path. Raises StoreFull if no volume takes more."""
        request = pb.AssignVolumeRequest(count=count, path=path)
        filer = self.preferred
        others = any(other != filer and not self._suspected(other) for other in self.named)
        seconds = ASSIGN_FIRST_SECONDS if others else ASSIGN_SECONDS
        response = await self._ask(filer, _ASSIGN, request, seconds)
        if response.error:
            text = response.error.lower()
            if any(sign in text for sign in _FULL):
                raise StoreFull("no volume of the cluster takes more")
            raise StoreUnavailable("no volume was assigned")
        servers = [response.location.url, *(replica.url for replica in response.replicas)]
        return Assigned(response.file_id, max(response.count, 1), tuple(dict.fromkeys(servers)))

    @property
    def named(self) -> list[Address]:
        """The filers that the masters name, in the same order in every process."""
        return self._masters.filers

    def on_named(self, call: Callable[[], None]) -> None:
        """Have ``call`` called whenever the masters name other filers."""
        self._masters.on_filers = call

    @property
    def preferred(self) -> Address:
        """The filer to ask: the first in the order of addresses, of those that are not suspect if
        there are any. Raises StoreUnavailable if there is no filer at all."""
        filers = self.named
        if not filers:
            raise StoreUnavailable("the cluster has no filer")
        return min(filers, key=lambda filer: (self._suspected(filer), filer))

    def mark_lost(self, filer: Address) -> None:
        """``filer`` does not respond: ask it last, and give up the calls that wait for it."""
        if filer not in self._lost:
            self._lost.add(filer)
            self._doubtful.add(filer)
        if any(other not in self._lost for other in self.named):
            for scope in self._waiting.pop(filer, ()):
                scope.reschedule(0.0)  # in the past: it times out at once

    def mark_found(self, filer: Address) -> None:
        """``filer`` responds again; what failed before does not count any more."""
        if filer in self._lost:
            self._lost.discard(filer)
            self._suspect.pop(filer, None)

    def _pass_over(self, filer: Address) -> None:
        """Ask ``filer`` last for SUSPECT_SECONDS. It may hold creations of a process that was
        killed."""
        self._suspect[filer] = clock.monotonic() + SUSPECT_SECONDS
        self._doubtful.add(filer)

    def _suspected(self, filer: Address) -> bool:
        return filer in self._lost or self._suspect.get(filer, 0.0) > clock.monotonic()

    async def _ask(
        self, filer: Address, method: Method[_Q, _R], request: _Q, seconds: float = CALL_SECONDS
    ) -> _R:
        """Call ``filer`` once. Raises CallFailed, at once if it is marked lost meanwhile."""
        try:
            async with self._unless_lost(filer):
                return await self._channels.call(filer.grpc, method, request, seconds)
        except CallFailed as error:
            if not error.absent:
                self._pass_over(filer)
            raise

    @asynccontextmanager
    async def _unless_lost(self, filer: Address) -> AsyncIterator[None]:
        """Interrupt what is awaited within, and raise CallFailed, when ``filer`` is marked lost."""
        try:
            async with asyncio.timeout(None) as scope:
                waiting = self._waiting.setdefault(filer, set())
                waiting.add(scope)
                try:
                    yield
                finally:
                    waiting.discard(scope)
        except TimeoutError as error:
            raise CallFailed.given_up(filer.grpc) from error

    async def _retried(
        self,
        method: Method[_Q, _R],
        request: _Q | Callable[[], _Q],
        *,
        seconds: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> _R:
        """Call one filer after another until one responds, for ``patience`` seconds. ``request`` is
        sent each time, or, if it can be called, makes a request for each attempt."""
        deadline = Deadline(patience)
        while True:
            try:
                sent = request() if callable(request) else request
                return await self._ask(self.preferred, method, sent, min(seconds, deadline.left))
            except StoreUnavailable as error:
                if isinstance(error, CallFailed) and error.absent:
                    raise
                await deadline.pause(RETRY_SECONDS, error)

    async def _fence(self, filer: Address) -> str:
        """The ETag of the fence of ``filer``, which is made if need be."""
        if filer not in self._fences:
            entry = await self.lookup(self._fence_directory, str(filer))
            if entry is None:
                return await self._change_fence(filer, PATIENCE_SECONDS)
            self._fences[filer] = entry.attributes.md5.hex()
        return self._fences[filer]

    async def _change_fence(self, filer: Address, patience: float) -> str:
        """Give the fence of ``filer`` another ETag, which is returned: every creation that it has
        not carried out yet is refused from now on."""
        directory = self._fence_directory
        entry = pb.Entry(name=str(filer), attributes=pb.FuseAttributes(file_mode=0o600))

        def change() -> pb.ObjectTransactionRequest:
            # Each attempt has an ETag of its own: one that is carried out late must not restore an
            # ETag that creations have named since.
            entry.attributes.md5 = secrets.token_bytes(16)
            mutation = pb.ObjectMutation(type=_PUT, directory=directory, entry=entry)
            lock = f"{directory}/{filer}"
            return pb.ObjectTransactionRequest(lock_key=lock, mutations=[mutation])

        self._fences.pop(filer, None)
        _check(await self._retried(_TRANSACTION, change, patience=patience))
        self._fences[filer] = etag = entry.attributes.md5.hex()
        return etag


def _condition(entry: pb.Entry) -> pb.WriteCondition:
    """The condition that an entry has not changed: a directory of this store by its ETag, anything
    else by its chunks. All empty files have the same chunks, so the time is compared too."""
    if entry.is_directory and entry.attributes.md5:
        return _etag(entry.attributes.md5.hex())
    clause = pb.WriteCondition.Clause
    fids = [chunk.file_id for chunk in entry.chunks]
    return pb.WriteCondition(
        clauses=[
            clause(kind=_EXISTS),
            clause(kind=_CHUNKS_EQUAL, fids=fids),
            clause(kind=_UNMODIFIED_SINCE, unix_time=entry.attributes.mtime),
        ]
    )


def _etag(etag: str) -> pb.WriteCondition:
    clause = pb.WriteCondition.Clause
    return pb.WriteCondition(clauses=[clause(kind=_ETAG_MATCHES, etags=[etag])])


def _check(response: pb.ObjectTransactionResponse) -> None:
    """Raise if the filer refused the change. The reason is in a sentence, and nowhere else."""
    if _TOO_LONG in response.error:
        raise InvalidName("the filer does not take a name of this length")
    if response.error or response.error_code:
        raise StoreUnavailable("the filer did not carry the change out")
