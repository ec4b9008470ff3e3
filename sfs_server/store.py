"""Opens the store that the settings name, and checks that the database belongs to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from gfs.api import FileSystem
from gfs.errors import GfsError, StoreFull
from gfs.factory import Cluster, open_filesystem
from gfs.observe import Listener
from gfs.types import Tls
from sfs_server.config import Config, ConfigError
from sfs_server.database import Database, StatementFailed
from sfs_server.errors import DatabaseFull, DatabaseUnavailable

MAX_PEM_BYTES = 1024 * 1024
"""How much of each file of ``-gfs-tls-ca``, ``-gfs-tls-cert`` and ``-gfs-tls-key`` is read."""

_log = logging.getLogger(__name__)


def files_of(directory: str) -> str:
    """The directory with the files in ``directory``, which is ``-data`` of an embedded store or a
    backup."""
    return os.path.join(directory, "files")


async def open_store(
    config: Config, listening: Callable[[str], Listener] | None = None
) -> FileSystem:
    """Open the cluster of ``-master``, or, if that is not given, the embedded store under
    ``-data``. ``listening`` is passed to ``open_filesystem``. Raises ConfigError."""
    try:
        return await open_filesystem(
            files_of(config.data), _cluster(config), listening, config.reserve_bytes
        )
    except (GfsError, ValueError) as error:
        flag = "-data" if config.master is None else "-master"
        raise ConfigError(f"The store of {flag} cannot be opened: {error}.") from error


async def require_its_database(config: Config, fs: FileSystem, database: Database) -> None:
    """Return if ``database`` belongs to the store ``fs``, or to none yet; then it belongs to ``fs``
    from now on. With the database of another store, users could read files by their rights to other
    files of the same name. Raises ConfigError if it belongs to another store."""
    try:
        async with database.transaction() as session:
            # Processes that start at the same time do this one after the other; the first one makes
            # the ids.
            await session.fetch("SELECT pg_advisory_xact_lock(7562869)")
            ours = await fs.identity()
            rows = await session.fetch("SELECT id FROM store_id")
            if not rows:
                await session.fetch("INSERT INTO store_id (id) VALUES (%s)", (ours,))
    except (StoreFull, DatabaseFull) as error:
        _log.warning("could not check that the database belongs to the store: %s", error)
        return
    except (GfsError, DatabaseUnavailable, StatementFailed) as error:
        raise ConfigError(f"The id of the store cannot be read or stored: {error}.") from error
    if rows and rows[0][0] != ours:
        flag = "-data" if config.master is None else "-master (and -prefix)"
        raise ConfigError(
            f"The database belongs to the store {rows[0][0][:8]}…, and this one is {ours[:8]}…: a "
            f"database serves one store. Give {flag} that store, or -database a database of its "
            "own. If this store has replaced the other one for good, empty the table store_id of "
            "the database (TRUNCATE store_id), and start again."
        )


def _cluster(config: Config) -> Cluster | None:
    """The settings of the cluster of ``-master``, None if it is not given. Raises ConfigError if a
    TLS file cannot be read, or only some of the three are given."""
    if config.master is None:
        return None
    paths = (config.gfs_tls_ca, config.gfs_tls_cert, config.gfs_tls_key)
    names = ("-gfs-tls-ca", "-gfs-tls-cert", "-gfs-tls-key")
    texts = [_read(*one) for one in zip(names, paths, strict=True) if one[1] is not None]
    if len(texts) not in (0, len(names)):
        raise ConfigError(f"{names[0]}, {names[1]} and {names[2]} go together: give all three.")
    return Cluster(
        config.master,
        config.prefix,
        read_key=config.gfs_read_key.encode() if config.gfs_read_key else None,
        write_key=config.gfs_write_key.encode() if config.gfs_write_key else None,
        tls=Tls(*texts) if texts else None,
        upload_buffer=config.upload_buffer_bytes,
    )


def _read(name: str, path: str | None) -> bytes:
    """The content of the file ``path``, which the flag ``name`` names. Raises ConfigError."""
    try:
        with open(path or "", "rb") as file:
            return file.read(MAX_PEM_BYTES)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"The file of {name} cannot be read: {reason}.") from error
