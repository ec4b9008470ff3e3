"""``sfs-server backup`` and ``sfs-server restore``: files and tables, also while they are in use.

A backup is a directory, the same for both engines: ``files/`` has a directory of plain files for
each namespace, ``database.json`` has the namespaces and the key of the links, ``jwt-secret`` is the
secret for tokens where SFS made it. :mod:`gfs.embedded.copying` copies the files of the embedded
engine, :mod:`gfs.copying` those of a cluster. What was saved from one engine can be restored to the
other.

The namespaces are read twice, before the files and after them, and the backup has those that were
there both times: each has all the files that were in it meanwhile. Namespaces that were deleted
meanwhile are removed from the backup again. A directory without a row is not restored, because the
next user who creates a namespace of that name would own what is in it. ``database.json`` is written
last; a directory without it is an unfinished backup, and ``restore`` refuses it.

What is no file of a namespace, or a row that no namespace can have, is left out and listed, and the
command ends with 1; everything else is in the backup, or restored, all the same.

The rows are written as JSON and not by ``pg_dump``: there are only two small tables, and another
version of PostgreSQL may read them.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime

from gfs.api import FileSystem
from gfs.copying import Copied, copy_files
from gfs.errors import GfsError, InvalidName
from gfs.factory import copy_store, left_out, open_copy
from sfs_server import postgres
from sfs_server.auth import copy_secret, write_private
from sfs_server.config import Config, ConfigError
from sfs_server.database import Database, StatementFailed, migrate
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.http import check_namespace
from sfs_server.logs import one_line
from sfs_server.postgres import InUse, sole_user
from sfs_server.store import files_of, open_store

FORMAT = 1
"""The format of ``database.json``; another one is refused."""

MAX_LISTED = 1_000
"""How many of the things that were left out are listed; the others are counted."""

MAX_DATABASE_BYTES = 256 << 20
"""The size up to which ``database.json`` is read."""

_Row = tuple[str, bool | None, str | None, str | None]
"""A row of the table ``namespaces``: name, hidden, owner, created_at (ISO 8601, in UTC)."""

_FAILURES = (GfsError, DatabaseUnavailable, StatementFailed, OSError)
"""What can go wrong while data are copied; the command ends with 1 then."""


async def backup(config: Config, to: str, tables_only: bool = False) -> str:
    """Back up the files and tables of ``config`` to the directory ``to``, which must be new or
    empty; with ``tables_only`` without the files. Returns a sentence about what was saved.

    Raises ConfigError. Then ``to`` has no ``database.json``; or it has, and the backup is complete
    but for what the error lists.
    """
    embedded = config.master is None and not tables_only
    if embedded and not await asyncio.to_thread(os.path.isdir, files_of(config.data)):
        raise ConfigError("There are no files under -data.")
    await asyncio.to_thread(_prepare, to)
    copied = None
    left: list[str] = []
    try:
        async with _database(config) as database:
            before = _fit(await _namespaces(database), [])
            if not tables_only:
                copied = await _save(config, to, [row[0] for row in before])
            after = _fit(await _namespaces(database), left)
            [(key,)] = await database.fetch("SELECT key FROM link_key", idempotent=True)
        if embedded:
            names = {row[0] for row in before + after}
            left += await asyncio.to_thread(_left_out, files_of(config.data), names)
        await asyncio.to_thread(copy_secret, config.data, to)
        there = {(name, at) for name, _, _, at in before}
        rows = [row for row in after if (row[0], row[3]) in there]
        await asyncio.to_thread(_prune, files_of(to), {row[0] for row in rows})
        said = {"format": FORMAT, "namespaces": rows, "link_key": bytes(key).hex()}
        text = json.dumps(said, indent=1).encode()
        path = os.path.join(to, "database.json")
        await asyncio.to_thread(write_private, path, text, replace=True)
    except _FAILURES as error:
        raise ConfigError(f"The backup failed: {_reason(error)}.") from error
    return _sentence(rows, copied, left)


async def restore(config: Config, source: str) -> str:
    """Restore the backup ``source`` to the store and database of ``config``, which must be empty,
    while no server uses them. Returns a sentence about what was restored. Raises ConfigError, also
    where everything is restored but for what the error lists."""
    found, key = await asyncio.to_thread(_read, source)
    left: list[str] = []
    rows = _fit(found, left)
    copied = None
    try:
        async with _database(config) as database:
            await migrate(database)
            await _require_empty(database)
            if await asyncio.to_thread(os.path.isdir, files_of(source)):
                names = [row[0] for row in rows]
                left += await asyncio.to_thread(_left_out, files_of(source), set(names))
                copied = await _load(config, source, names)
            await asyncio.to_thread(copy_secret, source, config.data)
            await _insert(database, rows, key)
    except _FAILURES as error:
        raise ConfigError(f"Not all was restored: {_reason(error)}.") from error
    return _sentence(rows, copied, left)


def _fit(rows: Sequence[_Row], left: list[str]) -> list[_Row]:
    """Those of ``rows`` whose names a namespace may have; the others are added to ``left``."""
    fit = []
    for row in rows:
        try:
            check_namespace(row[0])
        except (InvalidName, Problem) as error:
            left.append(f"the namespace {one_line(row[0])}: {error}")
        else:
            fit.append(row)
    return fit


def _left_out(files: str, names: Set[str]) -> list[str]:
    return [f"{one_line(path)}: {what}" for path, what in left_out(files, names)]


def _prune(files: str, names: Set[str]) -> None:
    """Remove the directories of other namespaces from ``files`` of a backup."""
    if os.path.isdir(files):
        for name in set(os.listdir(files)) - names:
            shutil.rmtree(os.path.join(files, name))


async def _save(config: Config, to: str, names: list[str]) -> Copied:
    """Copy the files of the namespaces ``names`` into the backup."""
    if config.master is None:
        there = files_of(config.data), files_of(to)
        return await asyncio.to_thread(copy_store, *there, names)
    async with _opened(config) as cluster, open_copy(files_of(to)) as plain:
        return await copy_files(cluster, plain, names)


async def _load(config: Config, source: str, names: list[str]) -> Copied:
    """Copy the files of the namespaces ``names`` from the backup to the empty store. Raises
    ConfigError where it is not empty."""
    if config.master is None:
        there = files_of(source), files_of(config.data)
        return await asyncio.to_thread(copy_store, *there, names)
    async with open_copy(files_of(source)) as plain, _opened(config) as cluster:
        for name in names:
            async with aclosing(cluster.list_files(name, limit=1)) as found:
                async for _ in found:
                    raise ConfigError(f"There are files already in {name}: give an empty store.")
        return await copy_files(plain, cluster, names)


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[FileSystem]:
    fs = await open_store(config)
    try:
        yield fs
    finally:
        await fs.close()


def _sentence(rows: Sequence[object], copied: Copied | None, left: list[str]) -> str:
    """What was copied, as a sentence. Raises ConfigError with it where something was left out."""
    said = f"{len(rows)} namespaces, no files"
    if copied is not None:
        links = f", {copied.linked} of them as links on the same disk" if copied.linked else ""
        said = f"{len(rows)} namespaces, {copied.files} files{links}, {copied.size} bytes"
        if copied.lost:
            more = ", …" if copied.lost > len(copied.lost_names) else ""
            names = ", ".join(map(one_line, copied.lost_names))
            said += f"; but {copied.lost} files could not be read: {names}{more}"
    if left:
        said += f"; but {len(left)} left out:"
        named = left[:MAX_LISTED] + (["…"] if len(left) > MAX_LISTED else [])
        raise ConfigError("\n  ".join([said, *named]))
    if copied is not None and copied.lost:
        raise ConfigError(f"{said}.")
    return said


async def _namespaces(database: Database) -> list[_Row]:
    rows = await database.fetch(
        "SELECT name, hidden, owner, created_at FROM namespaces ORDER BY name", idempotent=True
    )
    return [(name, hidden, owner, at and at.isoformat()) for name, hidden, owner, at in rows]


async def _require_empty(database: Database) -> None:
    [(others,)] = await database.fetch(
        "SELECT count(*) FROM namespaces WHERE name <> 'default'", idempotent=True
    )
    if others:
        raise ConfigError("The database has namespaces already: restore into an empty one.")


async def _insert(database: Database, rows: Sequence[_Row], key: bytes) -> None:
    async with database.transaction() as session:
        for name, hidden, owner, at in rows:
            await session.fetch(
                "INSERT INTO namespaces (name, hidden, owner, created_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET hidden = excluded.hidden, "
                "owner = excluded.owner, created_at = excluded.created_at",
                (name, hidden, owner, at and datetime.fromisoformat(at)),
            )
        await session.fetch("UPDATE link_key SET key = %s", (key,))


def _read(source: str) -> tuple[list[_Row], bytes]:
    """The rows and the key of the links in ``database.json``."""
    try:
        with open(os.path.join(source, "database.json"), "rb") as file:
            said = json.loads(file.read(MAX_DATABASE_BYTES))
        if said["format"] != FORMAT:
            raise ConfigError("-from is a backup of another version of SFS.")
        return [_row(*row) for row in said["namespaces"]], bytes.fromhex(said["link_key"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError("-from is no whole backup: its database.json cannot be read.") from error


def _row(name: str, hidden: bool | None, owner: str | None, at: str | None) -> _Row:
    """A row, checked. Raises TypeError or ValueError."""
    if not (
        isinstance(name, str) and isinstance(hidden, bool | None) and isinstance(owner, str | None)
    ):
        raise TypeError("not a row")
    if at is not None:
        datetime.fromisoformat(at)
    return name, hidden, owner, at


def _prepare(to: str) -> None:
    try:
        os.makedirs(to, mode=0o700, exist_ok=True)
        if os.listdir(to):
            raise ConfigError("-to has something in it: give a directory that is new or empty.")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"-to cannot be used: {reason}.") from error


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    """The database of ``-database``; or the embedded one: that of a server that is running, or else
    one that runs until the end of the context."""
    async with AsyncExitStack() as stack:
        url = config.database
        if url is None:
            try:
                stack.enter_context(sole_user(config.data))
            except InUse:
                url = await asyncio.to_thread(postgres.url_of_running, config.data)
            else:
                server = await postgres.start(config.data)
                stack.push_async_callback(server.stop)
                url = server.url
        database = await Database.connect(url, size=1)
        stack.push_async_callback(database.close)
        yield database


def _reason(error: Exception) -> str:
    """The text of an error, without paths."""
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
