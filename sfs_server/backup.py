"""The commands ``sfs-server backup``, also of a server that is running, and ``sfs-server restore``.

A backup is a directory, of the same format for both engines. ``files/`` contains a directory for
each namespace, and in it its folders, as directories, and its files, as plain files;
``database.json`` the rows of the namespaces and the key of the links; ``jwt-secret`` is the secret
for tokens, if SFS made one. :mod:`gfs.embedded.copying` copies the files of the embedded engine,
:mod:`gfs.copying` those of a cluster. A backup of one engine can be restored to the other.

The rows of the namespaces are read twice, before the files are copied and afterwards. The backup
contains the namespaces that existed both times; the directories of others are removed from it
again. A directory without a row would be dangerous: the next user who creates a namespace of that
name would own its files. ``database.json`` is written last: a directory without it is an
unfinished backup, which ``restore`` refuses.

Entries under ``files/``, at any depth, that are no files or folders of a namespace, and rows whose
name no namespace can have, are left out and listed, and the command exits with status 1. All others
are saved or restored all the same.

The rows are saved as JSON, not by ``pg_dump``: there are only two small tables, and they can be
restored to another version of PostgreSQL.
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
"""The number of the format of ``database.json``. Backups with another number are refused."""

MAX_LISTED = 1_000
"""How many of the entries that were left out are listed; the rest are only counted."""

MAX_DATABASE_BYTES = 256 << 20
"""How much of ``database.json`` is read."""

_Row = tuple[str, bool | None, str | None, str | None]
"""A row of the table ``namespaces``: name, hidden, owner, created_at (ISO 8601, in UTC)."""

_FAILURES = (GfsError, DatabaseUnavailable, StatementFailed, OSError)
"""The errors that can happen while data are copied. They become a ConfigError."""


async def backup(config: Config, to: str, tables_only: bool = False) -> str:
    """Back up the store and database of ``config`` to the directory ``to``, which must be empty or
    not exist. ``tables_only``: without the files. Returns a sentence that says what was saved.

    Raises ConfigError. Then either ``to`` has no ``database.json`` and is no backup, or it is a
    complete backup except for the entries that the error lists.
    """
    embedded = config.master is None and not tables_only
    if embedded and not await asyncio.to_thread(os.path.isdir, files_of(config.data)):
        raise ConfigError("There are no files under -data.")
    await asyncio.to_thread(_prepare, to)
    copied = None
    left: list[str] = []
    try:
        async with _database(config) as database:
            before = _valid(await _namespaces(database), [])
            if not tables_only:
                copied = await _save(config, to, [row[0] for row in before])
            after = _valid(await _namespaces(database), left)
            [(key,)] = await database.fetch("SELECT key FROM link_key", idempotent=True)
        if embedded:
            names = {row[0] for row in before + after}
            left += await asyncio.to_thread(_left_out, files_of(config.data), names)
        await asyncio.to_thread(copy_secret, config.data, to)
        existed = {(name, at) for name, _, _, at in before}
        rows = [row for row in after if (row[0], row[3]) in existed]
        await asyncio.to_thread(_remove_others, files_of(to), {row[0] for row in rows})
        content = {"format": FORMAT, "namespaces": rows, "link_key": bytes(key).hex()}
        text = json.dumps(content, indent=1).encode()
        path = os.path.join(to, "database.json")
        await asyncio.to_thread(write_private, path, text, replace=True)
    except _FAILURES as error:
        raise ConfigError(f"The backup failed: {_reason(error)}.") from error
    return _sentence(rows, copied, left)


async def restore(config: Config, source: str) -> str:
    """Restore the backup in the directory ``source`` to the store and database of ``config``, which
    must be empty, and which no server may use meanwhile. Returns a sentence that says what was
    restored. Raises ConfigError; if it lists entries, everything except these was restored."""
    found, key = await asyncio.to_thread(_read, source)
    left: list[str] = []
    rows = _valid(found, left)
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


def _valid(rows: Sequence[_Row], left: list[str]) -> list[_Row]:
    """Those of ``rows`` whose name a namespace can have. For each other row, a line that says why
    it is left out is added to ``left``."""
    valid = []
    for row in rows:
        try:
            check_namespace(row[0])
        except (InvalidName, Problem) as error:
            left.append(f"the namespace {one_line(row[0])}: {error}")
        else:
            valid.append(row)
    return valid


def _left_out(files: str, names: Set[str]) -> list[str]:
    """A line for each entry under the directory ``files``, at any depth, that is no file or folder
    of one of the namespaces ``names``, and so is left out."""
    return [f"{one_line(path)}: {what}" for path, what in left_out(files, names)]


def _remove_others(files: str, names: Set[str]) -> None:
    """Remove all directories except those of the namespaces ``names`` from ``files`` of a
    backup."""
    if os.path.isdir(files):
        for name in set(os.listdir(files)) - names:
            shutil.rmtree(os.path.join(files, name))


async def _save(config: Config, to: str, names: list[str]) -> Copied:
    """Copy the files of the namespaces ``names`` into the backup."""
    if config.master is None:
        return await asyncio.to_thread(copy_store, files_of(config.data), files_of(to), names)
    async with _opened(config) as cluster, open_copy(files_of(to)) as plain:
        return await copy_files(cluster, plain, names)


async def _load(config: Config, source: str, names: list[str]) -> Copied:
    """Copy the files of the namespaces ``names`` from the backup ``source`` to the store of
    ``config``. Raises ConfigError if there are files in one of these namespaces already."""
    if config.master is None:
        return await asyncio.to_thread(copy_store, files_of(source), files_of(config.data), names)
    async with open_copy(files_of(source)) as plain, _opened(config) as cluster:
        for name in names:
            async with aclosing(cluster.list_folder(name, limit=1)) as found:
                async for _ in found:
                    raise ConfigError(f"There are files already in {name}: give an empty store.")
        return await copy_files(plain, cluster, names, in_use=False)


@asynccontextmanager
async def _opened(config: Config) -> AsyncIterator[FileSystem]:
    """The store of ``config``, closed after the body."""
    fs = await open_store(config)
    try:
        yield fs
    finally:
        await fs.close()


def _sentence(rows: Sequence[object], copied: Copied | None, left: list[str]) -> str:
    """A sentence that says what was copied. If files could not be read or entries were left out,
    it is raised as a ConfigError, with their names."""
    sentence = f"{len(rows)} namespaces, no files"
    if copied is not None:
        links = f", {copied.linked} of them as links on the same disk" if copied.linked else ""
        sentence = f"{len(rows)} namespaces, {copied.files} files{links}, {copied.size} bytes"
        if copied.lost:
            more = ", …" if copied.lost > len(copied.lost_names) else ""
            names = ", ".join(map(one_line, copied.lost_names))
            sentence += f"; but {copied.lost} files could not be read: {names}{more}"
    if left:
        sentence += f"; but {len(left)} left out:"
        listed = left[:MAX_LISTED] + (["…"] if len(left) > MAX_LISTED else [])
        raise ConfigError("\n  ".join([sentence, *listed]))
    if copied is not None and copied.lost:
        raise ConfigError(f"{sentence}.")
    return sentence


async def _namespaces(database: Database) -> list[_Row]:
    """All rows of the table ``namespaces``."""
    rows = await database.fetch(
        "SELECT name, hidden, owner, created_at FROM namespaces ORDER BY name", idempotent=True
    )
    return [(name, hidden, owner, at and at.isoformat()) for name, hidden, owner, at in rows]


async def _require_empty(database: Database) -> None:
    """Raise ConfigError if ``database`` has a namespace besides ``default``."""
    [(others,)] = await database.fetch(
        "SELECT count(*) FROM namespaces WHERE name <> 'default'", idempotent=True
    )
    if others:
        raise ConfigError("The database has namespaces already: restore into an empty one.")


async def _insert(database: Database, rows: Sequence[_Row], key: bytes) -> None:
    """Write the rows of the namespaces and the key of the links, in one transaction. A server that
    is started on them counts the files."""
    async with database.transaction() as session:
        await session.fetch("DELETE FROM recounts")
        for name, hidden, owner, at in rows:
            await session.fetch(
                "INSERT INTO namespaces (name, hidden, owner, created_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET hidden = excluded.hidden, "
                "owner = excluded.owner, created_at = excluded.created_at",
                (name, hidden, owner, at and datetime.fromisoformat(at)),
            )
        await session.fetch("UPDATE link_key SET key = %s", (key,))


def _read(source: str) -> tuple[list[_Row], bytes]:
    """The rows of the namespaces and the key of the links in ``database.json`` of the backup
    ``source``. Raises ConfigError."""
    try:
        with open(os.path.join(source, "database.json"), "rb") as file:
            content = json.loads(file.read(MAX_DATABASE_BYTES))
        if content["format"] != FORMAT:
            raise ConfigError("-from is a backup of another version of SFS.")
        return [_row(*row) for row in content["namespaces"]], bytes.fromhex(content["link_key"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            "-from is not a complete backup: its database.json cannot be read."
        ) from error


def _row(name: str, hidden: bool | None, owner: str | None, at: str | None) -> _Row:
    """Check the fields of a row from ``database.json`` and return them. Raises TypeError or
    ValueError."""
    if not (
        isinstance(name, str) and isinstance(hidden, bool | None) and isinstance(owner, str | None)
    ):
        raise TypeError("not a row")
    if at is not None:
        datetime.fromisoformat(at)
    return name, hidden, owner, at


def _prepare(to: str) -> None:
    """Make the directory ``to``. Raises ConfigError if it is not empty or cannot be made."""
    try:
        os.makedirs(to, mode=0o700, exist_ok=True)
        if os.listdir(to):
            raise ConfigError("-to is not empty: give a directory that is new or empty.")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"-to cannot be used: {reason}.") from error


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    """The database of ``-database``, or, if that is not given, the embedded one. If no server runs
    on it, it is started, and stopped after the body. Raises ConfigError."""
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
    """The text of an error; for an OSError without the path."""
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
