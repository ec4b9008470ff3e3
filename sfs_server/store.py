"""Opening the store that the settings name."""

from __future__ import annotations

import os
from collections.abc import Callable

from gfs.api import FileSystem
from gfs.errors import GfsError
from gfs.factory import Cluster, open_filesystem
from gfs.observe import Listener
from gfs.types import Tls
from sfs_server.config import Config, ConfigError

MAX_PEM_BYTES = 1024 * 1024


def files_of(directory: str) -> str:
    """Where the embedded store is under ``-data``, and a copy of it in a backup."""
    return os.path.join(directory, "files")


async def open_store(
    config: Config, listening: Callable[[str], Listener] | None = None
) -> FileSystem:
    """Open the store of ``-master``, or without it that under ``-data``. Raises ConfigError."""
    try:
        return await open_filesystem(files_of(config.data), _cluster(config), listening)
    except (GfsError, ValueError) as error:
        flag = "-data" if config.master is None else "-master"
        raise ConfigError(f"The store of {flag} cannot be opened: {error}.") from error


def _cluster(config: Config) -> Cluster | None:
    """The cluster of ``-master``. Raises ConfigError for a file that is missing or unreadable."""
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
    try:
        with open(path or "", "rb") as file:
            return file.read(MAX_PEM_BYTES)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"The file of {name} cannot be read: {reason}.") from error
