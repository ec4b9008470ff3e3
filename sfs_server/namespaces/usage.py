"""How many files each namespace has, and how many bytes they are: the table ``namespace_usage``.

*Rows.* What a namespace has is the sum of its rows. Each change of its files adds a row, in the
transaction that holds the locks of the change (:mod:`sfs_server.namespaces.locks`) and in the round
trip of its COMMIT. No row is updated, so no change waits for another one. The row is written after
the store has made the change: if the process or the database fails in between, the row is missing
until a recount (:mod:`sfs_server.namespaces.recount`) finds the difference. Where this process
learns of that, it asks for a recount at once.

*Merging.* A process that has written MERGE_ROWS rows of a namespace replaces all rows of that
namespace by one, every MERGE_SECONDS at most. Whatever becomes of it, the sum is the same: each row
is deleted by one statement only, which inserts the sum of what it has deleted. So the sum of a
namespace with a million files is as fast as that of one with a single file: it reads the rows of
the last seconds, of each process.

*Unknown.* A namespace without a time in ``recounts`` has not been counted yet: an older version has
made it, or a backup, or so much was moved or removed at once that counting it would have taken too
long. It has no Total until a recount has found it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfs_server.database import Database, Periodic
from sfs_server.namespaces.table import lock_key

MERGE_ROWS = 64
"""How many rows of a namespace a process writes before it merges them."""

MERGE_SECONDS = 2.0
"""The time between two looks at what is to be merged."""

MAX_NOTED = 10_000
"""How many namespaces a process remembers to merge or to have recounted. Past that it forgets them
all: then their rows are merged later, and their recount is an ordinary one."""

_SUMS = "files_added", "files_removed", "bytes_added", "bytes_removed"
_COLUMNS = ", ".join(("namespace", *_SUMS))

# Put together from constants alone; every value is a parameter.
_MERGE = f"""
WITH held AS (
    SELECT name FROM namespaces
    WHERE name = %(name)s AND pg_try_advisory_xact_lock(%(lock)s) FOR KEY SHARE SKIP LOCKED
), gone AS (
    DELETE FROM namespace_usage USING held WHERE namespace = held.name RETURNING {_COLUMNS}
)
INSERT INTO namespace_usage ({_COLUMNS})
SELECT namespace, {", ".join(f"sum({column})" for column in _SUMS)} FROM gone GROUP BY namespace
"""  # noqa: S608  # nosec B608
"""Replaces the rows of a namespace by their sum. It does nothing while another process does it. The
row of the namespace is locked first, as a DELETE of the namespace does: otherwise each could wait
for the other."""

_INSERT = f"INSERT INTO namespace_usage ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s)"  # noqa: S608  # nosec B608

_SOON = """
UPDATE recounts SET counted_at = CASE WHEN counted_at IS NOT NULL THEN 'epoch'::timestamp END,
    claimed_until = NULL
WHERE namespace = ANY (%s)
"""
"""Has namespaces recounted soon, also those that are being recounted. What is known of them is
shown meanwhile."""

_VOID = (
    "UPDATE recounts SET claimed_until = NULL WHERE namespace = %s AND claimed_until IS NOT NULL"
)
"""Has the result of a recount that is going on not used."""

_UNKNOWN = """
INSERT INTO recounts (namespace) VALUES (%s)
ON CONFLICT (namespace) DO UPDATE SET counted_at = NULL, claimed_until = NULL
"""
"""Says that what a namespace has is not known until it is recounted."""

COUNTED = """
SELECT found.*, used.files, used.size
FROM ({found}) AS found
LEFT JOIN recounts ON recounts.namespace = found.name AND counted_at IS NOT NULL
LEFT JOIN LATERAL (
    SELECT greatest(coalesce(sum(files_added - files_removed), 0), 0)::bigint AS files,
        greatest(coalesce(sum(bytes_added - bytes_removed), 0), 0)::bigint AS size
    FROM namespace_usage WHERE namespace = recounts.namespace
) AS used ON recounts.namespace IS NOT NULL
"""
"""Adds to the rows of the SELECT ``found``, which has a column ``name``, how many files and bytes
each namespace has: NULL where that is unknown."""


@dataclass(frozen=True, slots=True)
class Total:
    """How many ``files`` a namespace has, and their ``size`` together in bytes."""

    files: int
    size: int


def total_of(row: Sequence[int | None]) -> Total | None:
    """The Total of the two columns that COUNTED adds."""
    files, size = row
    return None if files is None or size is None else Total(files, size)


@dataclass(slots=True)
class Difference:
    """What one transaction changes of what a namespace has. Files and bytes are >= 0."""

    files_added: int = 0
    files_removed: int = 0
    bytes_added: int = 0
    bytes_removed: int = 0
    moved: bool = False
    """Whether a folder was moved within the namespace: a recount that is going on may see its files
    twice or not at all."""
    unknown: bool = False
    """Whether something was changed whose files were not counted."""
    doubtful: bool = False
    """Whether an earlier transaction may have counted the same change already."""

    def add(self, files: int, size: int) -> None:
        """The namespace has so many ``files`` more, with ``size`` bytes more; or less, where they
        are negative."""
        self.files_added += max(files, 0)
        self.files_removed += max(-files, 0)
        self.bytes_added += max(size, 0)
        self.bytes_removed += max(-size, 0)

    def __bool__(self) -> bool:
        """Whether anything was changed."""
        return any(self.sums()) or self.moved or self.unknown or self.doubtful

    def sums(self) -> tuple[int, int, int, int]:
        """The values for the columns of the table."""
        return self.files_added, self.files_removed, self.bytes_added, self.bytes_removed


def statement(differences: Mapping[str, Difference]) -> tuple[str, list[object]]:
    """The SQL that writes the ``differences``, by the names of their namespaces, and its
    parameters. There is at least one in which something was changed."""
    parts: list[str] = []
    params: list[object] = []
    for name, difference in sorted(differences.items()):  # in one order, so that none deadlock
        if any(difference.sums()):
            parts.append(_INSERT)
            params += [name, *difference.sums()]
        if difference.unknown or difference.moved:
            parts.append(_UNKNOWN if difference.unknown else _VOID)
            params.append(name)
        elif difference.doubtful:
            parts.append(_SOON)
            params.append([name])
    return "; ".join(parts), params


class Usage:
    """Merges the rows that this process writes, from ``start`` until ``close``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: Counter[str] = Counter()
        self._missing: set[str] = set()
        self._merging = Periodic(self.merge, "merge the usage of namespaces")

    def __repr__(self) -> str:
        return f"<Usage written={len(self._written)} missing={len(self._missing)}>"

    def wrote(self, name: str) -> None:
        """A row of the namespace ``name`` was written."""
        if len(self._written) >= MAX_NOTED:
            self._written.clear()
        self._written[name] += 1

    def missed(self, name: str) -> None:
        """The files of the namespace ``name`` may have been changed, and the row may not have been
        written."""
        if len(self._missing) >= MAX_NOTED:
            self._missing.clear()
        self._missing.add(name)

    def start(self) -> None:
        """Start to merge."""
        self._merging.start(MERGE_SECONDS, MERGE_SECONDS)

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self._merging.close()

    async def merge(self) -> None:
        """Merge the rows of the namespaces of which this process has written MERGE_ROWS, and have
        those recounted of which it has missed one. Raises DatabaseUnavailable, StatementFailed."""
        if self._missing:
            missing = list(self._missing)
            await self._database.fetch(_SOON, (missing,), idempotent=True)
            self._missing.difference_update(missing)
        for name in [name for name, rows in self._written.items() if rows >= MERGE_ROWS]:
            del self._written[name]
            params = {"name": name, "lock": lock_key("usage", name)}
            await self._database.fetch(_MERGE, params)
