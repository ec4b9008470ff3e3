"""Counts the files of namespaces in the store, and corrects the table ``namespace_usage`` by it.

The rows of the table say what went through this service. A recount finds what did not: what other
programs wrote to the store, what processes of an older version published, what was published by a
process that was killed before it could write its row, and all that a namespace had before its files
were counted at all. Each namespace is recounted once a day, and before that where its row in
``recounts`` is missing or has no time.

*Only what is certain.* Files are published while they are counted, and a walk through the store may
have seen such a file or not. The sums of the table are read before the walk and after it. Between
them A files were added and R were removed. If the table was right (S files before), the walk
has seen between S - R and S + A. If it has seen more or fewer, the difference to the nearer end is
certainly missing in the table, and is added to it; otherwise nothing is. So a wrong number of a
namespace at rest becomes exact, that of a busy one is wrong by at most what was changed during the
walk, and a right number stays right. The same is done for the bytes.

*What is read after the walk* must have the rows of all changes that the walk may have seen. A row
becomes visible a moment after its file. So the recount waits until the transactions that held the
lock of the namespace at the end of the walk have ended. It takes no lock itself, and no publisher
waits for it.

*One process.* ``recounts.claimed_until`` says until when a process counts; all others leave
everything to it meanwhile. It is a time in a row and not a lock, because a lock would need a
session for minutes, and is lost behind a pooler. The claim is renewed during the walk. The result
is used only if the claim is the same at the end: another process may have taken it over after it
had expired, or a change may have taken it away. That is what the move of a folder within the
namespace does, because the walk may have seen its files twice or not at all.

*Pace.* At most ENTRIES_PER_SECOND, and half of the time nothing is done. A million files take some
minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from gfs.api import FileSystem
from gfs.clock import Deadline
from gfs.errors import GfsError
from sfs_server.database import Database, Periodic
from sfs_server.namespaces.table import lock_key
from sfs_server.namespaces.usage import Difference, Total

FIRST_SECONDS = 5.0
"""How long after its start a process looks for the first time whether there is something to
count."""

LOOK_SECONDS = 60.0
"""The time between two looks."""

ENTRIES_PER_SECOND = 5_000
"""How many files are counted in a second at most."""

CLAIM_SECONDS = 60
"""How long a claim lasts: after a process was killed, another one goes on."""

RENEW_SECONDS = 15.0
"""How often a claim is renewed."""

SETTLE_SECONDS = 180.0
"""The longest time to wait for the changes that were going on at the end of a walk."""

SETTLE_PAUSE_SECONDS = 0.1
"""The time between two looks whether they have ended."""

RETRY_SECONDS = 300.0
"""How long a namespace that could not be counted is left alone by this process."""

NAMES_AT_ONCE = 100
"""How many namespaces are read that are to be counted."""

MAX_LATER = 1_000
"""How many namespaces that could not be counted are remembered."""

RESULTS = ("right", "corrected", "void", "failed")
"""What becomes of a recount: the table was right, or was corrected; the result could not be used,
or the store failed."""

_NOW = "clock_timestamp() AT TIME ZONE 'UTC'"
_CLAIM_END = f"{_NOW} + interval '{CLAIM_SECONDS} seconds'"

# Put together from constants alone; every value is a parameter.
_DUE = f"""
SELECT name FROM namespaces LEFT JOIN recounts ON namespace = name
WHERE name <> ALL (%(later)s)
AND NOT EXISTS (SELECT FROM recounts WHERE claimed_until > {_NOW})
AND (
    counted_at IS NULL
    OR counted_at < {_NOW} - interval '1 day'
    OR EXISTS (
        SELECT FROM sfs_migrations WHERE number = 2
        AND counted_at < applied_at AT TIME ZONE 'UTC' + interval '1 hour'
        AND {_NOW} > applied_at AT TIME ZONE 'UTC' + interval '1 hour'
    )
)
ORDER BY counted_at NULLS FIRST, name LIMIT %(limit)s
"""  # noqa: S608  # nosec B608
"""The namespaces that are to be counted, those first of which nothing is known; none while another
process counts. Processes of the version before may have published for a while after the tables were
made: so what was counted in the first hour is counted again after it."""

_CLAIM = f"""
INSERT INTO recounts AS mine (namespace, claimed_until)
SELECT name, {_CLAIM_END} FROM namespaces WHERE name = %(name)s FOR KEY SHARE SKIP LOCKED
ON CONFLICT (namespace) DO UPDATE SET claimed_until = excluded.claimed_until
WHERE mine.claimed_until IS NULL OR mine.claimed_until <= {_NOW} RETURNING claimed_until
"""  # noqa: S608  # nosec B608

_RENEW = f"""
UPDATE recounts SET claimed_until = {_CLAIM_END}
WHERE namespace = %(name)s AND claimed_until = %(claim)s RETURNING claimed_until
"""  # noqa: S608  # nosec B608

_SUMS = """
SELECT coalesce(sum(files_added), 0)::bigint, coalesce(sum(files_removed), 0)::bigint,
    coalesce(sum(bytes_added), 0)::bigint, coalesce(sum(bytes_removed), 0)::bigint
FROM namespace_usage WHERE namespace = %(name)s
"""

_HOLDERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND classid = %(high)s AND objid = %(low)s AND objsubid = 1 AND granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""The transactions that hold the lock of a namespace, whose key is given in two halves."""

_FINISH = f"""
WITH existing AS (
    SELECT name FROM namespaces WHERE name = %(name)s FOR KEY SHARE SKIP LOCKED
), held AS (
    UPDATE recounts SET counted_at = {_NOW} FROM existing
    WHERE namespace = existing.name AND claimed_until = %(claim)s RETURNING namespace
), written AS (
    INSERT INTO namespace_usage
        (namespace, files_added, files_removed, bytes_added, bytes_removed)
    SELECT namespace, %(files_added)s, %(files_removed)s, %(bytes_added)s, %(bytes_removed)s
    FROM held WHERE %(corrects)s
)
SELECT namespace FROM held
"""  # noqa: S608  # nosec B608
"""Writes a correction and the time, if the claim is still there. The row of the namespace is locked
first, as a DELETE of the namespace does: otherwise each could wait for the other."""

_log = logging.getLogger(__name__)


class _Void(Exception):
    """The result of a walk cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class _Sums:
    """The sums of the rows of a namespace."""

    files_added: int
    files_removed: int
    bytes_added: int
    bytes_removed: int


class Recounter:
    """Counts, from ``start`` until ``close``, the files of the namespaces that are due, in the
    background, unless another process does."""

    def __init__(self, database: Database, fs: FileSystem) -> None:
        self._database = database
        self._fs = fs
        self._loop = asyncio.get_running_loop()
        self._later: dict[str, float] = {}
        """Namespaces that could not be counted, and until when they are left alone."""
        self._counting = Periodic(self.recount_due, "recount namespaces")
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        """How many recounts had each of RESULTS."""

    def __repr__(self) -> str:
        return f"<Recounter {dict(self.results)} later={len(self._later)}>"

    def start(self) -> None:
        """Start to count."""
        self._counting.start(FIRST_SECONDS, LOOK_SECONDS)

    def stop(self) -> None:
        """Stop counting soon: the process is going to end. ``close`` waits for it."""
        self._counting.stop()

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self._counting.close()

    async def recount_due(self) -> None:
        """Count the namespaces that are due, until there are none. Raises DatabaseUnavailable,
        StatementFailed."""
        while True:
            now = self._loop.time()
            self._later = {name: until for name, until in self._later.items() if until > now}
            params = {"later": list(self._later), "limit": NAMES_AT_ONCE}
            due = await self._database.fetch(_DUE, params, idempotent=True)
            if not due or len(self._later) > MAX_LATER:
                return
            for (name,) in due:
                result = await self._recount(name)
                self.results[result] += 1
                if result in ("void", "failed"):
                    self._later[name] = self._loop.time() + RETRY_SECONDS

    async def _recount(self, name: str) -> str:
        """Count the namespace ``name``. Returns one of RESULTS."""
        try:
            correction = await self._correct(name)
        except _Void as error:
            _log.info("the count of the namespace %s is not used: %s", name, error)
            return "void"
        except GfsError as error:
            _log.warning("the files of the namespace %s cannot be counted: %s", name, error)
            return "failed"
        if not correction:
            return "right"
        _log.info(
            "the count of the namespace %s was corrected by %+d files, %+d bytes",
            name,
            correction.files_added - correction.files_removed,
            correction.bytes_added - correction.bytes_removed,
        )
        return "corrected"

    async def _correct(self, name: str) -> Difference:
        """Count the namespace ``name``, and write what is missing in the table. Returns that.
        Raises _Void, GfsError, DatabaseUnavailable."""
        claim = await self._claimed(_CLAIM, name)
        before = await self._sums(name)
        found, claim = await self._walk(name, claim)
        await self._settled(name)
        correction = _correction(before, await self._sums(name), found)
        columns = ("files_added", "files_removed", "bytes_added", "bytes_removed")
        sums = dict(zip(columns, correction.sums(), strict=True))
        await self._claimed(_FINISH, name, claim=claim, **sums, corrects=bool(correction))
        return correction

    async def _claimed(self, sql: str, name: str, **params: object) -> Any:
        """What the statement ``sql`` returns, in one row. Raises _Void if it finds no claim that it
        can use, and DatabaseUnavailable."""
        rows = await self._database.fetch(sql, {"name": name, **params})
        if not rows:
            raise _Void("a folder was moved in it, another process counts it, or it was deleted")
        return rows[0][0]

    async def _walk(self, name: str, claim: Any) -> tuple[Total, Any]:
        """Count what the store has, and renew ``claim`` meanwhile; returns both. Raises _Void,
        GfsError, DatabaseUnavailable."""
        files = size = 0
        start = renewed = self._loop.time()
        async with aclosing(self._fs.list_files(name)) as batches:
            async for batch in batches:
                files += len(batch)
                size += sum(file.size for file in batch)
                took = self._loop.time() - start
                await asyncio.sleep(max(len(batch) / ENTRIES_PER_SECOND - took, took))
                start = self._loop.time()
                if start - renewed > RENEW_SECONDS:
                    claim, renewed = await self._claimed(_RENEW, name, claim=claim), start
        return Total(files, size), claim

    async def _settled(self, name: str) -> None:
        """Wait until the changes in the namespace ``name`` that are going on have ended. Raises
        _Void if that takes too long, and DatabaseUnavailable."""
        key = lock_key("namespace", name) % 2**64
        params = {"high": key >> 32, "low": key % 2**32}
        deadline = Deadline(SETTLE_SECONDS)
        holders = await self._holders(params)
        while holders:
            await deadline.pause(SETTLE_PAUSE_SECONDS, _Void("a change in it takes too long"))
            holders &= await self._holders(params)

    async def _holders(self, params: dict[str, int]) -> set[str]:
        rows = await self._database.fetch(_HOLDERS, params, idempotent=True)
        return {row[0] for row in rows}

    async def _sums(self, name: str) -> _Sums:
        [row] = await self._database.fetch(_SUMS, {"name": name}, idempotent=True)
        return _Sums(*row)


def _correction(before: _Sums, after: _Sums, found: Total) -> Difference:
    """What is certainly missing in the table, if a walk ``found`` so much, and the sums of the
    table were ``before`` and ``after`` it."""
    correction = Difference()
    correction.add(
        _outside(
            found.files,
            before.files_added - before.files_removed,
            after.files_added - before.files_added,
            after.files_removed - before.files_removed,
        ),
        _outside(
            found.size,
            before.bytes_added - before.bytes_removed,
            after.bytes_added - before.bytes_added,
            after.bytes_removed - before.bytes_removed,
        ),
    )
    return correction


def _outside(found: int, before: int, added: int, removed: int) -> int:
    """How far ``found`` is above ``before + added``, or, negative, below ``before - removed``; 0 in
    between."""
    return max(found - before - added, 0) + min(found - before + removed, 0)
