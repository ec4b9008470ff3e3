"""``sfs-server backup`` and ``sfs-server restore``: files and tables, while they are in use.

A backup is a directory: ``files/`` is a store as plain as the original (:mod:`gfs.embedded.copying`
says why it can be copied while it is written to), ``database.json`` has the namespaces and the key
of the links, ``jwt-secret`` is the secret for tokens where SFS made it. The database is read first:
every namespace that has a file in the copy when it matters, because both were there when the backup
began, is in it; directories of younger ones are restored too, and nobody sees them.
``database.json`` is written last, so a directory without it is half a backup, and is refused.
With ``-master`` there is no ``files/``: a cluster has means of its own (docs/backup.md).

The rows are written as JSON and not by ``pg_dump``: there are two small tables, and what reads them
back may be another version of PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

from gfs.errors import GfsError
from gfs.factory import copy_store
from sfs_server import embedded_postgres
from sfs_server.config import Config, ConfigError
from sfs_server.data_directory import InUse, sole_user
from sfs_server.database import Database, StatementFailed
from sfs_server.errors import DatabaseUnavailable

FORMAT = 1
_FAILURES = (GfsError, DatabaseUnavailable, StatementFailed, OSError)
MAX_DATABASE_BYTES = 256 << 20
MAX_SECRET_BYTES = 4096


async def backup(config: Config, to: str) -> str:
    """Back up what ``config`` serves into the directory ``to``, which is new or empty. Returns a
    sentence on what it has. Raises ConfigError; then ``to`` has no ``database.json``."""
    embedded = config.master is None
    if embedded and not await asyncio.to_thread(os.path.isdir, _files(config.data)):
        raise ConfigError("There are no files under -data.")
    await asyncio.to_thread(_prepare, to)
    try:
        async with _database(config) as database:
            rows = await database.fetch(
                "SELECT name, hidden, owner, created_at FROM namespaces ORDER BY name",
                idempotent=True,
            )
            [(key,)] = await database.fetch("SELECT key FROM link_key", idempotent=True)
        copied = "no files"
        if embedded:
            copied = await _copy(config.data, to)
        await asyncio.to_thread(_copy_secret, config.data, to)
        said = {
            "format": FORMAT,
            "namespaces": [
                [name, hidden, owner, at.isoformat()] for name, hidden, owner, at in rows
            ],
            "link_key": bytes(key).hex(),
        }
        text = json.dumps(said, indent=1).encode()
        await asyncio.to_thread(_write, to, "database.json", text)
    except _FAILURES as error:
        raise ConfigError(f"The backup failed: {_reason(error)}.") from error
    return f"{len(rows)} namespaces, {copied}"


async def restore(config: Config, source: str) -> str:
    """Put the backup ``source`` where ``config`` serves from; nothing may be there, and nothing
    may be running. Returns a sentence on what was restored. Raises ConfigError."""
    said = await asyncio.to_thread(_read, source)
    try:
        copied = "no files"
        if config.master is None:
            copied = await _copy(source, config.data)
        await asyncio.to_thread(_copy_secret, source, config.data)
        async with _database(config) as database:
            await database.apply_schema()
            await _insert(database, said)
    except _FAILURES as error:
        raise ConfigError(f"Not all was restored: {_reason(error)}.") from error
    return f"{len(said['namespaces'])} namespaces, {copied}"


async def _copy(source: str, target: str) -> str:
    copied = await asyncio.to_thread(copy_store, _files(source), _files(target))
    links = f", {copied.linked} of them as links on the same disk" if copied.linked else ""
    return f"{copied.files} files{links}, {copied.size} bytes"


async def _insert(database: Database, said: dict[str, Any]) -> None:
    async with database.transaction() as session:
        [(others,)] = await session.fetch("SELECT count(*) FROM namespaces WHERE name <> 'default'")
        if others:
            raise ConfigError("The database has namespaces already: restore into an empty one.")
        for name, hidden, owner, at in said["namespaces"]:
            await session.fetch(
                "INSERT INTO namespaces (name, hidden, owner, created_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (name) DO UPDATE SET created_at = excluded.created_at",
                (name, hidden, owner, datetime.fromisoformat(at)),
            )
        await session.fetch("UPDATE link_key SET key = %s", (bytes.fromhex(said["link_key"]),))


def _read(source: str) -> dict[str, Any]:
    try:
        with open(os.path.join(source, "database.json"), "rb") as file:
            said: dict[str, Any] = json.loads(file.read(MAX_DATABASE_BYTES))
    except (OSError, ValueError) as error:
        raise ConfigError("-from is no whole backup: its database.json cannot be read.") from error
    if said.get("format") != FORMAT:
        raise ConfigError("-from is a backup of another version of SFS.")
    return said


def _prepare(to: str) -> None:
    try:
        os.makedirs(to, mode=0o700, exist_ok=True)
        if os.listdir(to):
            raise ConfigError("-to has something in it: give a directory that is new or empty.")
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"-to cannot be used: {reason}.") from error


def _files(directory: str) -> str:
    return os.path.join(directory, "files")


@asynccontextmanager
async def _database(config: Config) -> AsyncIterator[Database]:
    """The database of ``-database``; or the embedded one: that of the server that is running, or
    else one that is started for the time being."""
    async with AsyncExitStack() as stack:
        url = config.database
        if url is None:
            try:
                stack.enter_context(sole_user(config.data))
            except InUse:
                url = await asyncio.to_thread(embedded_postgres.url_of_running, config.data)
            else:
                server = await embedded_postgres.start(config.data)
                stack.push_async_callback(server.stop)
                url = server.url
        database = await Database.connect(url, size=1)
        stack.push_async_callback(database.close)
        yield database


def _reason(error: Exception) -> str:
    """What went wrong, without a path."""
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)


def _copy_secret(source: str, target: str) -> None:
    """Copy the secret for tokens, where SFS has made one."""
    with suppress(FileNotFoundError), open(os.path.join(source, "jwt-secret"), "rb") as file:
        _write(target, "jwt-secret", file.read(MAX_SECRET_BYTES))


def _write(directory: str, name: str, content: bytes) -> None:
    """Write a file that this user alone may read, whole or not at all, and durable."""
    path = os.path.join(directory, name)
    temporary = f"{path}.{os.getpid()}"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
