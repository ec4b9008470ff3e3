"""The filers: entries, one call each.

All filers of a cluster serve the same tree. Every process sends everything to the first one in the
order of their addresses, and to the others only while that one fails: a filer that did not respond
is passed over for SUSPECT_SECONDS, and one that whoever listens to it (:mod:`gfs.seaweedfs.watch`)
has declared lost until it is found again. Calls that wait for a filer at the moment when it is lost
are given up at once, if another filer is left to ask. A filer that is started again is back within
a second, so when none responds all are tried again for PATIENCE_SECONDS.

Everything that changes an entry is one ``ObjectTransaction``, with a condition. Other calls with a
condition are passed on by the filer to the one that owns the name, and wait for it if it is frozen;
a transaction without a ``route_key`` is decided where it arrives.

A call that was given up may still be carried out, whenever the filer that has it wakes. What
replaces or deletes an entry names the chunks of the entry that it expects, which never come back
once they were replaced: it fails then. What creates an entry expects that there is none, and that
can be true again, after a delete. So a creation names the *fence* of the filer that it is sent to,
an entry with a random ETag: whoever gives a creation up changes the fence, through any filer, and
all creations that the lost filer still has are refused (``settle``). So does whoever is about to
create something and has passed a filer over since the last time: a process that was killed gives
nothing up, and what it left with that filer would replace what is created now. What is left is a
filer that stops for seconds between its own check and its own write, less than a millisecond apart.

A refusal is in one of two places: in gRPC's status, or inside a response whose status is OK. Both
become errors of ours here, and nothing else of the engine looks at either.

A call that failed may have been carried out. Which of the calls here may simply be sent again:
all but ``create`` and ``delete``, which say so.
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
SUSPECT_SECONDS = 5.0
ASSIGN_SECONDS = 10.0
ASSIGN_FIRST_SECONDS = 2.0
"""For a filer besides which there is another one to ask: it may have lost its masters."""

LIST_SECONDS = 30.0

_EXISTS = 2
_ETAG_MATCHES = 3
_UNMODIFIED_SINCE = 5
_CHUNKS_EQUAL = 9
_PUT = 0
_DELETE = 1
_FULL = ("no free volumes", "no writable volumes", "resourceexhausted")
"""How a filer says that there is no room: it has no code for that."""

_TOO_LONG = "name too long"
BUCKETS = "/buckets"
"""Where each directory is a bucket of S3: the filer takes no name there that a bucket may not have,
such as one with a ``~``."""

_FENCES = "~filers"

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
_ASSIGN = Method(_SERVICE + "AssignVolume", pb.AssignVolumeRequest, pb.AssignVolumeResponse)

_Q = TypeVar("_Q", bound=Message)
_R = TypeVar("_R", bound=Message)


@dataclass(frozen=True, slots=True)
class Assigned:
    """``count`` needles with consecutive keys on one volume, the first of them ``fid``, and the
    HTTP addresses of its servers. A write to any of them writes all copies."""

    fid: str
    count: int
    servers: tuple[str, ...]


class Filers:
    """The filers of one cluster. ``top``: the directory that everything of ours is in."""

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
        """The entry, or None if there is none."""
        request = pb.LookupDirectoryEntryRequest(directory=directory, name=name)
        try:
            response = await self._patiently(_LOOKUP, request, patience=patience)
        except CallFailed as error:
            if error.absent:
                return None
            raise
        return response.entry

    async def listing(
        self, directory: str, *, prefix: str, after: str, limit: int, omit_chunks: bool = False
    ) -> AsyncGenerator[pb.Entry, None]:
        """At most ``limit`` entries behind ``after`` that begin with ``prefix``, by their bytes.

        A directory that does not exist is empty. Where a filer fails, another one goes on behind
        the last entry. Hold it in ``contextlib.aclosing``.
        """
        deadline = Deadline(PATIENCE_SECONDS)
        while True:
            filer = self.turn
            request = pb.ListEntriesRequest(
                directory=directory,
                prefix=prefix,
                startFromFileName=after,
                limit=limit,
                omit_chunks=omit_chunks,
            )
            stream = self._channels.stream(filer.grpc, _LIST, request, LIST_SECONDS)
            try:
                async with aclosing(stream) as responses:
                    while True:
                        async with self._unless_lost(filer):
                            response = await anext(responses, None)
                        if response is None:
                            return
                        after, limit = response.entry.name, limit - 1
                        deadline.renew(PATIENCE_SECONDS)
                        yield response.entry
                        if limit == 0:
                            return
            except CallFailed as error:
                self._pass_over(filer)
                await deadline.pause(RETRY_SECONDS, error)

    async def make_directory(self, directory: str, entry: pb.Entry) -> pb.Entry:
        """Create a directory and return it. What is there already, a file too, is left as it is,
        and returned."""
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
        """The changes of the tree that are made through ``filer``, until it ends. Raises
        CallFailed. Hold it in ``contextlib.aclosing``."""
        stream = self._channels.stream(filer.grpc, _SUBSCRIBE, request, None)
        async with aclosing(stream) as messages:
            async for message in messages:
                yield message

    async def ping(self, filer: Address, seconds: float) -> int:
        """The clock of ``filer``, in nanoseconds since the Unix epoch. Raises CallFailed."""
        response = await self._channels.call(filer.grpc, _PING, pb.PingRequest(), seconds)
        when: int = response.start_time_ns
        return when

    async def create(self, directory: str, entry: pb.Entry, *, over: pb.Entry | None) -> None:
        """Store ``entry`` in one attempt, in the place of ``over`` or as a new one.

        Raises VersionMismatch if what is there is not ``over`` any more, or if it must be tried
        again. CallFailed means that it is not known whether it was stored: if it was to be a new
        one, call ``settle`` before you look.
        """
        path = f"{directory}/{entry.name}"
        if over is None and self._doubtful:
            await self.settle(CALL_SECONDS)
        filer = self.turn
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
        """Return when no creation that was given up can be carried out any more, by this process or
        by another one. Raises StoreUnavailable after ``patience`` seconds, in which those who call
        this at the same time wait for each other too."""
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
            raise StoreUnavailable("no filer refuses what was given up") from error

    async def delete(self, directory: str, over: pb.Entry) -> bool:
        """Delete the entry ``over`` and its data, in one attempt; whether it was there unchanged.

        CallFailed means that it is not known whether it was deleted.
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
        response = await self._ask(self.turn, _TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            return False
        _check(response)
        return True

    async def delete_all(self, directory: str, names: Sequence[str], *, of: pb.Entry) -> None:
        """Delete entries and their data, as long as ``of``, an entry of the top, is as it was.

        What is not there is no error, and it may be sent again. Raises VersionMismatch if ``of``
        has changed. What cannot be deleted is a StoreUnavailable; what comes behind it is left.
        """
        delete = partial(pb.ObjectMutation, type=_DELETE, directory=directory, is_delete_data=True)
        request = pb.ObjectTransactionRequest(
            lock_key=directory,
            condition=_condition(of),
            condition_key=f"{self._top}/{of.name}",
            mutations=[delete(name=name) for name in names],
        )
        response = await self._patiently(_TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            raise VersionMismatch("the directory has changed")
        _check(response)

    async def remove_empty(self, directory: str, name: str) -> None:
        """Delete a directory if it is empty; one that is not, or is not there, is left alone."""
        await self._patiently(_DELETION, pb.DeleteEntryRequest(directory=directory, name=name))

    async def note(self, key: str) -> bytes:
        """What the filers remember under ``key``; nothing if that is nothing."""
        response = await self._patiently(_KV_GET, pb.KvGetRequest(key=key.encode()))
        value: bytes = response.value
        return value

    async def remember(self, key: str, value: bytes) -> None:
        """Let the filers remember ``value`` under ``key``, or nothing if it is empty."""
        await self._patiently(_KV_PUT, pb.KvPutRequest(key=key.encode(), value=value))

    async def assign(self, path: str, count: int) -> Assigned:
        """Reserve ``count`` needles for the file ``path``, by whose rules the filer chooses the
        volume. Raises StoreFull where no volume takes more."""
        request = pb.AssignVolumeRequest(count=count, path=path)
        filer = self.turn
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
        """Let ``call`` be called whenever the masters name other filers."""
        self._masters.on_filers = call

    @property
    def turn(self) -> Address:
        """The filer whose turn it is: of those that are not suspect, if there are any, the first
        in the order of addresses. Raises StoreUnavailable if there is none at all."""
        filers = self.named
        if not filers:
            raise StoreUnavailable("the cluster has no filer")
        return min(filers, key=lambda filer: (self._suspected(filer), filer))

    def lose(self, filer: Address) -> None:
        """``filer`` gives no sign of life: ask it last, and give up what waits for it."""
        if filer not in self._lost:
            self._lost.add(filer)
            self._doubtful.add(filer)
        if any(other not in self._lost for other in self.named):
            for scope in self._waiting.pop(filer, ()):
                scope.reschedule(0.0)  # at once

    def find(self, filer: Address) -> None:
        """``filer`` gives signs of life. What failed while it gave none says nothing of it now."""
        if filer in self._lost:
            self._lost.discard(filer)
            self._suspect.pop(filer, None)

    def _pass_over(self, filer: Address) -> None:
        """Ask ``filer`` last for a while. It may have creations of a process that was killed."""
        self._suspect[filer] = clock.monotonic() + SUSPECT_SECONDS
        self._doubtful.add(filer)

    def _suspected(self, filer: Address) -> bool:
        return filer in self._lost or self._suspect.get(filer, 0.0) > clock.monotonic()

    async def _ask(
        self, filer: Address, method: Method[_Q, _R], request: _Q, seconds: float = CALL_SECONDS
    ) -> _R:
        """The response of ``filer``. Raises CallFailed, at once if it is lost meanwhile."""
        try:
            async with self._unless_lost(filer):
                return await self._channels.call(filer.grpc, method, request, seconds)
        except CallFailed as error:
            if not error.absent:
                self._pass_over(filer)
            raise

    @asynccontextmanager
    async def _unless_lost(self, filer: Address) -> AsyncIterator[None]:
        """Raise CallFailed out of what is awaited in it as soon as ``filer`` is lost."""
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

    async def _patiently(
        self,
        method: Method[_Q, _R],
        request: _Q | Callable[[], _Q],
        *,
        seconds: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> _R:
        """The response of the first filer that gives one, to the same ``request`` or to one that is
        made for each attempt."""
        deadline = Deadline(patience)
        while True:
            try:
                sent = request() if callable(request) else request
                return await self._ask(self.turn, method, sent, min(seconds, deadline.left))
            except StoreUnavailable as error:
                if isinstance(error, CallFailed) and error.absent:
                    raise
                await deadline.pause(RETRY_SECONDS, error)

    async def _fence(self, filer: Address) -> str:
        """The ETag of the fence of ``filer``."""
        if filer not in self._fences:
            entry = await self.lookup(self._fence_directory, str(filer))
            if entry is None:
                return await self._change_fence(filer, PATIENCE_SECONDS)
            self._fences[filer] = entry.attributes.md5.hex()
        return self._fences[filer]

    async def _change_fence(self, filer: Address, patience: float) -> str:
        """Let all creations be refused that ``filer`` has not carried out yet; the new ETag."""
        directory = self._fence_directory
        entry = pb.Entry(name=str(filer), attributes=pb.FuseAttributes(file_mode=0o600))

        def change() -> pb.ObjectTransactionRequest:
            # Each attempt has an ETag of its own: one that is carried out late must not bring back
            # what creations have named since.
            entry.attributes.md5 = secrets.token_bytes(16)
            mutation = pb.ObjectMutation(type=_PUT, directory=directory, entry=entry)
            lock = f"{directory}/{filer}"
            return pb.ObjectTransactionRequest(lock_key=lock, mutations=[mutation])

        self._fences.pop(filer, None)
        _check(await self._patiently(_TRANSACTION, change, patience=patience))
        self._fences[filer] = etag = entry.attributes.md5.hex()
        return etag


def _condition(entry: pb.Entry) -> pb.WriteCondition:
    """That the entry is there as it was: a directory of ours with its ETag, anything else with
    these chunks. Those of an empty file are like those of another one; so its time counts too."""
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
    """Raise what the filer has refused. It says why in a sentence alone."""
    if _TOO_LONG in response.error:
        raise InvalidName("the filer does not take a name of this length")
    if response.error or response.error_code:
        raise StoreUnavailable("the filer did not carry the change out")
