"""The filers: entries, one call each.

All filers of a cluster serve the same tree, but exclusive creation is exclusive only within one of
them. So every process sends everything to the first one in the order of their addresses, and to
the others only while that one fails: a filer that did not answer is passed over for
SUSPECT_SECONDS, unless all are. A filer that is started again is back within a second, so when
none answers all are tried again for PATIENCE_SECONDS.

A refusal is in one of two places: in gRPC's status, or inside a response whose status is OK. Both
become errors of ours here, and nothing else of the engine looks at either.

A call that failed may have been carried out. Which of the calls here may simply be sent again:
all but ``create`` and ``delete``, which say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from gfs.errors import AlreadyExists, InvalidName, StoreFull, StoreUnavailable, VersionMismatch
from gfs.seaweedfs.address import Address
from gfs.seaweedfs.master import Masters
from gfs.seaweedfs.proto import filer_pb2 as pb
from gfs.seaweedfs.rpc import CallFailed, Channels, Method

CALL_SECONDS = 3.0
"""For one call to one filer, which takes about a millisecond."""

PATIENCE_SECONDS = 10.0
"""For all attempts of one call together."""

RETRY_SECONDS = 0.1
SUSPECT_SECONDS = 5.0
ASSIGN_SECONDS = 10.0
LIST_SECONDS = 30.0

_EXISTS = 2
_CHUNKS_EQUAL = 9
_DELETE = 1
_FULL = ("no free volumes", "no writable volumes", "resourceexhausted")
"""How a filer says that there is no room: it has no code for that."""

_SERVICE = "/filer_pb.SeaweedFiler/"
_LOOKUP = Method(
    _SERVICE + "LookupDirectoryEntry",
    pb.LookupDirectoryEntryRequest,
    pb.LookupDirectoryEntryResponse,
)
_LIST = Method(_SERVICE + "ListEntries", pb.ListEntriesRequest, pb.ListEntriesResponse)
_CREATE = Method(_SERVICE + "CreateEntry", pb.CreateEntryRequest, pb.CreateEntryResponse)
_UPDATE = Method(_SERVICE + "UpdateEntry", pb.UpdateEntryRequest, pb.UpdateEntryResponse)
_DELETION = Method(_SERVICE + "DeleteEntry", pb.DeleteEntryRequest, pb.DeleteEntryResponse)
_TRANSACTION = Method(
    _SERVICE + "ObjectTransaction", pb.ObjectTransactionRequest, pb.ObjectTransactionResponse
)
_SUBSCRIBE = Method(
    _SERVICE + "SubscribeMetadata", pb.SubscribeMetadataRequest, pb.SubscribeMetadataResponse
)
_SUBSCRIBE_LOCAL = Method(
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
    """The filers of one cluster."""

    def __init__(self, channels: Channels, masters: Masters) -> None:
        self._channels = channels
        self._masters = masters
        self._suspect: dict[Address, float] = {}

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

        A directory that does not exist is empty. Hold it in ``contextlib.aclosing``.
        """
        request = pb.ListEntriesRequest(
            directory=directory,
            prefix=prefix,
            startFromFileName=after,
            limit=limit,
            omit_chunks=omit_chunks,
        )
        deadline = _now() + PATIENCE_SECONDS
        while True:
            filer = self.turn
            begun = False
            stream = self._channels.stream(filer.grpc, _LIST, request, LIST_SECONDS)
            try:
                async with aclosing(stream) as responses:
                    async for response in responses:
                        begun = True
                        yield response.entry
            except CallFailed:
                self._suspect[filer] = _now() + SUSPECT_SECONDS
                if begun or _now() > deadline:
                    raise
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def make_directory(self, directory: str, entry: pb.Entry) -> int:
        """Create a directory; one that exists is left as it is. Returns when, in nanoseconds since
        the Unix epoch by the filer's clock: the time of a change that subscribers are told of."""
        request = pb.CreateEntryRequest(directory=directory, entry=entry)
        response = await self._patiently(_CREATE, request)
        _check_created(response, entry.name)
        when: int = response.metadata_event.ts_ns
        return when

    async def update(self, directory: str, entry: pb.Entry) -> None:
        """Replace an entry, which is there, by ``entry``: all of it."""
        await self._patiently(_UPDATE, pb.UpdateEntryRequest(directory=directory, entry=entry))

    async def changes(
        self, request: pb.SubscribeMetadataRequest, *, local: bool = False
    ) -> AsyncGenerator[pb.SubscribeMetadataResponse, None]:
        """The changes of the tree, from the filer whose turn it is, until it ends. ``local``: only
        those that were made through this filer, and much sooner.

        Hold it in ``contextlib.aclosing``.
        """
        method = _SUBSCRIBE_LOCAL if local else _SUBSCRIBE
        stream = self._channels.stream(self.turn.grpc, method, request, None)
        async with aclosing(stream) as messages:
            async for message in messages:
                yield message

    async def create(
        self,
        directory: str,
        entry: pb.Entry,
        *,
        exclusive: bool = False,
        over: pb.Entry | None = None,
    ) -> tuple[pb.Entry, bool]:
        """Publish ``entry`` in one attempt; returns it as it is stored now (the time of creation
        is that of the entry that it replaced), and whether it replaced one.

        ``exclusive``: raise AlreadyExists if there is one. ``over``: raise VersionMismatch unless
        it replaces this one. CallFailed means that it is not known whether it was published.
        """
        request = pb.CreateEntryRequest(
            directory=directory,
            entry=entry,
            o_excl=exclusive,
            condition=_condition(over) if over is not None else None,
        )
        response = await self._once(_CREATE, request)
        _check_created(response, entry.name)
        event = response.metadata_event.event_notification
        stored = event.new_entry if event.HasField("new_entry") else entry
        return stored, event.HasField("old_entry")

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
        response = await self._once(_TRANSACTION, request)
        if response.error_code == pb.PRECONDITION_FAILED:
            return False
        if response.error or response.error_code:
            raise StoreUnavailable("the filer did not delete the file")
        return True

    async def remove_tree(self, directory: str, name: str) -> None:
        """Delete a directory and all in it; one that is not there is no error."""
        request = pb.DeleteEntryRequest(
            directory=directory, name=name, is_delete_data=True, is_recursive=True
        )
        response = await self._patiently(_DELETION, request, seconds=LIST_SECONDS)
        if response.error:
            raise StoreUnavailable("the filer did not delete the directory")

    async def remove_empty(self, directory: str, name: str) -> None:
        """Delete a directory if it is empty; one that is not, or is not there, is left alone."""
        await self._patiently(_DELETION, pb.DeleteEntryRequest(directory=directory, name=name))

    async def assign(self, path: str, count: int) -> Assigned:
        """Reserve ``count`` needles for the file ``path``, by whose rules the filer chooses the
        volume. Raises StoreFull where no volume takes more."""
        request = pb.AssignVolumeRequest(count=count, path=path)
        response = await self._once(_ASSIGN, request, ASSIGN_SECONDS)
        if response.error:
            text = response.error.lower()
            if any(sign in text for sign in _FULL):
                raise StoreFull("no volume of the cluster takes more")
            raise StoreUnavailable("no volume was assigned")
        servers = [response.location.url, *(replica.url for replica in response.replicas)]
        return Assigned(response.file_id, max(response.count, 1), tuple(dict.fromkeys(servers)))

    @property
    def turn(self) -> Address:
        """The filer whose turn it is: of those that are not suspect, if there are any, the first
        in the order of addresses. Raises StoreUnavailable if there is none at all."""
        filers = self._masters.filers
        if not filers:
            raise StoreUnavailable("the cluster has no filer")
        now = _now()
        return min(filers, key=lambda filer: (self._suspect.get(filer, 0.0) > now, filer))

    async def _once(self, method: Method[_Q, _R], request: _Q, seconds: float = CALL_SECONDS) -> _R:
        """The response of the filer whose turn it is."""
        filer = self.turn
        try:
            return await self._channels.call(filer.grpc, method, request, seconds)
        except CallFailed as error:
            if not error.absent:
                self._suspect[filer] = _now() + SUSPECT_SECONDS
            raise

    async def _patiently(
        self,
        method: Method[_Q, _R],
        request: _Q,
        *,
        seconds: float = CALL_SECONDS,
        patience: float = PATIENCE_SECONDS,
    ) -> _R:
        """The response of the first filer that gives one."""
        deadline = _now() + max(patience, seconds)
        while True:
            try:
                return await self._once(method, request, min(seconds, deadline - _now()))
            except StoreUnavailable as error:
                if isinstance(error, CallFailed) and error.absent:
                    raise
                if _now() + RETRY_SECONDS >= deadline:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def _condition(entry: pb.Entry) -> pb.WriteCondition:
    """That the entry is there with exactly these chunks."""
    clause = pb.WriteCondition.Clause
    fids = [chunk.file_id for chunk in entry.chunks]
    return pb.WriteCondition(clauses=[clause(kind=_EXISTS), clause(kind=_CHUNKS_EQUAL, fids=fids)])


def _check_created(response: pb.CreateEntryResponse, name: str) -> None:
    match response.error_code:
        case pb.ENTRY_ALREADY_EXISTS | pb.EXISTING_IS_DIRECTORY | pb.EXISTING_IS_FILE:
            raise AlreadyExists(name)
        case pb.PRECONDITION_FAILED:
            raise VersionMismatch("the file has been replaced")
        case pb.ENTRY_NAME_TOO_LONG:
            raise InvalidName("the filer does not take a name of this length")
        case _:
            if response.error or response.error_code:
                raise StoreUnavailable("the filer did not store the entry")


def _now() -> float:
    return asyncio.get_running_loop().time()
