"""The locks of a change: of a namespace, and of the paths in it that are changed.

*Locks of a namespace.* A namespace must not be deleted while a file is published in it. Each change
of a path locks the row FOR KEY SHARE, which many transactions can hold together; ``deleting`` holds
the lock of the DELETE, which excludes them. PostgreSQL does not grant row locks in the order of the
waiting: publishers that follow each other closely could keep a DELETE waiting for ever. So both
take an advisory lock on the name first. These are granted in order: while a DELETE waits, no
publisher that came after it is granted one.

*Locks of paths.* Each path has an advisory lock. Whoever changes what is at a path holds its lock
alone, and shares those of the folders above it: so a folder is moved or removed by one process, and
only while nobody changes anything below it, and files in one folder are published side by side.
An engine refuses most of what these locks keep out, but not all: each filer of a cluster makes its
steps atomic only among the requests to that filer, and two processes may use different filers while
one is failing or coming back.

*Sessions.* A transaction that waits for a lock holds one of the few sessions of the pool. So tasks
that need the same path for themselves wait in this process first, in ``Turns``: a path takes one
session at most. A lock that is to be shared is only tried, because its holder may need long (a
cluster moves about 1000 entries a second): who does not get it gives the session back, and tries
again later; of all tasks that miss the same lock one tries, and the others wait in ``Turns``. A
try fails also while somebody waits to have the lock alone, so whoever moves a folder is not kept
waiting by those who go on publishing in it. A move of a folder holds its session until it is done;
``FOLDERS_AT_ONCE`` bounds these.

*No deadlock.* A transaction waits for locks only in the order of their keys, whatever it holds of
those before, so transactions cannot wait for each other in a circle. Turns are taken in that order
too.

*Keys.* The key of an advisory lock is 64 bits of a hash. The version before this one used 32 bits
(``hashtext``), so that two names could have the same key by accident, and had no folders. While
processes of that version are still running, a path of one segment also needs its lock of 32 bits:
processes of this version share it, which keeps out only the old ones. A namespace does not need its
old lock, since both versions use the row locks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

from gfs.clock import Deadline
from gfs.errors import NoSuchDirectory, StoreUnavailable
from gfs.paths import parents
from sfs_server.auth import Namespace
from sfs_server.database import Database, Params, Session, StatementFailed
from sfs_server.errors import Busy, DatabaseUnavailable
from sfs_server.namespaces.table import COLUMNS, IS_SAME, identity_of, lock_key, namespace_of
from sfs_server.namespaces.turns import Turns
from sfs_server.namespaces.usage import Difference, Usage, statement

WAIT_SECONDS = 60.0
"""How long a change waits for its locks. It is less than the 75 s after which the gateway gives a
response up, and as long as most moves of the largest folder take."""

FIRST_PAUSE_SECONDS = 0.02
"""The pause before a lock is tried again."""

LAST_PAUSE_SECONDS = 0.25
"""The longest of these pauses, each of which is half as long again as the one before."""

HELD_SECONDS = 60.0
"""How long after it has asked for its locks a change may start to change the store. The database
releases the locks of a process that is frozen for IDLE_TRANSACTION_SECONDS; until then a publish
has ended, or gives up (DECISION_SECONDS and LATE_SECONDS of :mod:`gfs.seaweedfs.publishing`)."""

FOLDERS_AT_ONCE = 2
"""How many folders one process moves at a time: each move holds a session of the pool."""

PING_SECONDS = 20.0
"""The time between two statements by which the session of a long move shows that its process lives:
the database ends a transaction that is idle for IDLE_TRANSACTION_SECONDS, and a pooler may too."""

_BLOCKED = "SELECT current_setting('sfs.blocked')"
"""Returns the number of the lock that ``_Wanted.sql`` did not get, or '' if it got all."""

_Row = tuple[Any, ...]
_log = logging.getLogger(__name__)


class Guarded:
    """A namespace in which a transaction changes files, and by how much it does."""

    def __init__(self, namespace: Namespace, session: Session, held: Deadline) -> None:
        """``namespace`` is its row as it is during the transaction of ``session``, which may
        start to change the store until ``held``."""
        self.namespace = namespace
        self.difference = Difference()
        self.committed = False
        """Whether what the body has changed was written, when the transaction is over."""
        self._session = session
        self._held = held
        self._writes = False

    def __repr__(self) -> str:
        return f"<Guarded {self.namespace.name} {self.difference}>"

    def __bool__(self) -> bool:
        """Whether the body has changed anything, which is to be written."""
        return self._writes or bool(self.difference)

    async def fetch(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        """Execute ``sql`` in the transaction, and return its rows. Raises what ``Session.fetch``
        raises."""
        return await self._session.fetch(sql, params)

    def require_held(self) -> None:
        """Raise DatabaseUnavailable if this process was frozen for so long that the database may
        have released the locks. Call it right before a change that nothing else keeps from undoing
        what others have done since."""
        self._held.require(DatabaseUnavailable("the locks of a change may have been lost"))

    def at_commit(self, sql: str, params: Params) -> None:
        """The body has changed something, and ``sql`` writes that at the end of the transaction,
        also if the body fails afterwards."""
        self._writes = True
        self._session.at_commit(sql, params)

    def add(self, files: int, size: int) -> None:
        """The namespace has so many ``files`` more, with ``size`` bytes more; or less, where they
        are negative. A file that was moved within it is added once and taken away once."""
        self.difference.add(files, size)

    def moved(self) -> None:
        """A folder was moved within the namespace."""
        self.difference.moved = True

    def doubtful(self) -> None:
        """The change may have been made and counted before: the namespace is recounted soon."""
        self.difference.doubtful = True

    def not_counted(self) -> None:
        """More than could be counted was added or taken away: what the namespace has is not known
        until it is recounted."""
        self.difference.unknown = True


class _Wanted:
    """The locks that a change takes: for each of its ends, a namespace and a path in it, that path
    for itself, and the namespace and the folders above shared. All are in the order of their keys.

    ``sql`` takes them in one round trip with ``params``, and returns the rows of ``COLUMNS`` that
    are there, locked. CASE stops at the first lock that is not granted; then no row is returned,
    and ``_BLOCKED`` says which of ``keys`` it was.
    """

    def __init__(self, ends: Sequence[tuple[Namespace, str]]) -> None:
        alone = {lock_key("file", namespace.name, path) for namespace, path in ends}
        shared = {lock_key("namespace", namespace.name) for namespace, _ in ends}
        shared.update(
            lock_key("file", namespace.name, folder)
            for namespace, path in ends
            for folder in parents(path)
        )
        self.alone = sorted(alone)
        """The keys of the locks that the change has for itself."""
        self.keys = sorted(alone | shared)
        cases = [
            f"WHEN pg_advisory_xact_lock(%(key{place})s) IS NULL THEN '{place}'"
            if key in alone
            else f"WHEN NOT pg_try_advisory_xact_lock_shared(%(key{place})s) THEN '{place}'"
            for place, key in enumerate(self.keys)
        ]
        self.params: dict[str, object] = {f"key{n}": key for n, key in enumerate(self.keys)}
        for namespace, path in ends:
            if "/" not in path:
                old = f"old{len(cases)}"
                self.params[old] = f"{namespace.name}/{path}"
                shared_old = f"pg_advisory_xact_lock_shared(7562868, hashtext(%({old})s))"
                cases.append(f"WHEN {shared_old} IS NULL THEN '0'")
        namespaces = {namespace.name: namespace for namespace, _ in ends}
        self.names = list(namespaces)
        same = []
        for number, namespace in enumerate(namespaces.values()):
            for name, value in identity_of(namespace).items():
                self.params[f"{name}{number}"] = value
            same.append(f"({IS_SAME.replace(')s', f'{number})s')})")
        # Put together from constants and numbers alone; every value is a parameter.
        self.sql = (
            f"SELECT set_config('sfs.blocked', CASE {' '.join(cases)} ELSE '' END, true); "  # noqa: S608  # nosec B608
            f"SELECT {COLUMNS} FROM namespaces WHERE ({' OR '.join(same)}) "
            "AND current_setting('sfs.blocked') = '' FOR KEY SHARE"
        )


class _Change:
    """How a body of ``Locks.held`` has ended, and by how much it changed each namespace."""

    def __init__(self, usage: Usage) -> None:
        """``usage`` is notified of what becomes of the change."""
        self._usage = usage
        self._done = False
        self._guarded: list[Guarded] = []
        self._failure: BaseException | None = None
        self._differences: dict[str, Difference] = {}

    @contextmanager
    def body(self, session: Session, fresh: Mapping[str, Guarded]) -> Iterator[None]:
        """Run the body in the transaction of ``session``. If it fails before it has changed
        anything, the error is raised, and the transaction ends. If it has changed something, the
        transaction goes on, to write that, and ``ending`` raises the error."""
        self._guarded = list(fresh.values())
        try:
            yield
        except BaseException as error:
            if isinstance(error, StoreUnavailable):  # the store may have made the change
                for name in fresh:
                    self._usage.missed(name)
            if not any(fresh.values()):
                raise
            self._failure = error
        self._differences = {name: one.difference for name, one in fresh.items() if one.difference}
        self._done = True
        if self._differences:
            session.at_commit(*statement(self._differences))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Run the transaction and what is around it."""
        try:
            yield
        except BaseException as error:
            for name in self._differences:
                self._usage.missed(name)
            if not (self._done and isinstance(error, DatabaseUnavailable | StatementFailed)):
                raise
            _log.warning("the database became unavailable after a change was made: %s", error)
        else:
            for name in self._differences:
                self._usage.wrote(name)
            for guarded in self._guarded:
                guarded.committed = True
        if self._failure is not None:
            raise self._failure


class Locks:
    """Takes the locks of changes, for the tasks of one process."""

    def __init__(self, database: Database, turns: Turns, usage: Usage) -> None:
        """``turns`` are those in which the tasks of this process wait for each other; ``usage``
        learns what was written."""
        self._database = database
        self._usage = usage
        self._turns = turns
        self._folders = asyncio.Semaphore(FOLDERS_AT_ONCE)

    def __repr__(self) -> str:
        return f"<Locks {self._turns!r}>"

    @asynccontextmanager
    async def held(
        self, ends: Sequence[tuple[Namespace, str]], *, long: bool = False
    ) -> AsyncIterator[list[Guarded]]:
        """Hold the locks of a change during the body: those of a namespace and a path in it for
        each of its ``ends``. Yields a Guarded for each end, the same one where both are in one
        namespace. ``long``: the body may take a while.

        At the end the transaction writes by how much the body has changed the namespaces; also if
        it was cancelled or failed after that. If this is not possible, what the body did remains:
        that error is only logged, and the namespaces are recounted.

        Raises NoSuchDirectory if a namespace has been deleted, even if there is a new one of the
        same name; DatabaseUnavailable, of which Busy if the locks were not granted within
        WAIT_SECONDS.
        """
        wanted, deadline, change = _Wanted(ends), Deadline(WAIT_SECONDS), _Change(self._usage)
        with change.ending():
            async with AsyncExitStack() as stack:
                if long:
                    await stack.enter_async_context(self._one_of_few(deadline))
                for key in wanted.alone:
                    await stack.enter_async_context(self._turns.of(key, deadline.left))
                session, rows, held = await self._lock(stack, wanted, deadline)
                fresh = {row[0]: Guarded(namespace_of(row), session, held) for row in rows}
                if len(fresh) < len(wanted.names):
                    raise NoSuchDirectory("the namespace was deleted")
                if long:
                    await stack.enter_async_context(_kept_alive(session))
                with change.body(session, fresh):
                    yield [fresh[namespace.name] for namespace, _ in ends]

    @asynccontextmanager
    async def _one_of_few(self, deadline: Deadline) -> AsyncIterator[None]:
        """Be one of FOLDERS_AT_ONCE during the body."""
        try:
            async with asyncio.timeout(deadline.left):
                await self._folders.acquire()
        except TimeoutError as error:
            raise Busy("other folders took too long to be moved") from error
        try:
            yield
        finally:
            self._folders.release()

    async def _lock(
        self, stack: AsyncExitStack, wanted: _Wanted, deadline: Deadline
    ) -> tuple[Session, list[_Row], Deadline]:
        """Take the locks ``wanted`` in a transaction that ``stack`` ends. Returns its session, the
        rows of the namespaces that are still there, and until when it surely has the locks. Raises
        Busy after ``deadline``."""
        found = await self._try(stack, wanted)
        while isinstance(found, int):
            missed, pause = found, FIRST_PAUSE_SECONDS
            async with self._turns.of(("missed", missed), deadline.left):
                found = await self._try(stack, wanted)
                while found == missed:
                    await deadline.pause(pause, Busy("others held the same path for too long"))
                    pause = min(pause * 1.5, LAST_PAUSE_SECONDS)
                    found = await self._try(stack, wanted)
        return found

    async def _try(
        self, stack: AsyncExitStack, wanted: _Wanted
    ) -> tuple[Session, list[_Row], Deadline] | int:
        """Take the locks ``wanted`` like ``_lock``, or return the key of one that others hold."""
        try:
            async with AsyncExitStack() as attempt:
                session = await attempt.enter_async_context(self._database.transaction())
                held = Deadline(HELD_SECONDS)  # from before the locks can have been granted
                rows = await session.fetch(wanted.sql, wanted.params)
                if len(rows) < len(wanted.names):
                    [(blocked,)] = await session.fetch(_BLOCKED)
                    if blocked:
                        return wanted.keys[int(blocked)]
                await stack.enter_async_context(attempt.pop_all())
                return session, rows, held
        except Busy:
            return wanted.alone[0]  # or the other one: one statement has waited as long as it may


@asynccontextmanager
async def _kept_alive(session: Session) -> AsyncIterator[None]:
    """Send a statement on ``session`` now and then during the body, which does not use it. Raises
    DatabaseUnavailable after the body if the session broke meanwhile, and its locks were lost."""
    over = asyncio.Event()

    async def ping() -> None:
        while not over.is_set():
            try:
                async with asyncio.timeout(PING_SECONDS):
                    await over.wait()
            except TimeoutError:
                await session.fetch("SELECT 1")

    pinging = asyncio.create_task(ping())
    try:
        yield
    except BaseException:
        over.set()
        await asyncio.gather(pinging, return_exceptions=True)
        raise
    over.set()
    await pinging
