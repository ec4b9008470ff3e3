"""The directory of ``-data``: which user it belongs to, and the lock for one process at a time."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from sfs_server.config import Config, ConfigError

_LOCK = "lock"
"""The name of the file under ``-data`` on which the process that uses it holds a lock (flock)."""


def refuse_root(config: Config) -> None:
    """Raise ConfigError if this process runs as root, and uses a ``-data`` that belongs to another
    user: a server of that user could not read the files that root would write there. The directory
    belongs to the owner of its lock file, or, if there is none yet, to its own owner.
    """
    if os.geteuid() != 0 or (config.master is not None and config.database is not None):
        return
    for path in (os.path.join(config.data, _LOCK), config.data):
        try:
            owner = os.stat(path).st_uid
        except OSError:
            continue
        if owner != 0:
            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:
                name = f"#{owner}"
            raise ConfigError(
                "The directory of -data belongs to another user, who could not use what root would "
                f"write there. Run it as that user: `sudo -u {shlex.quote(name)} sfs-server …`."
            )
        return


class InUse(ConfigError):
    """Another process uses the directory of ``-data``."""


@contextmanager
def sole_user(data: str) -> Iterator[None]:
    """Hold the lock of the directory ``data`` during the body, so that no other process uses the
    embedded PostgreSQL in it. The directory is made if there is none. Raises InUse if another
    process holds the lock, ConfigError if the directory cannot be made or used."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        os.makedirs(data, exist_ok=True)
        descriptor = os.open(os.path.join(data, _LOCK), flags, 0o600)
    except OSError as error:
        raise _unusable(error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(
                "Another process serves the directory of -data: "
                "give this one a directory of its own."
            ) from None
        except OSError as error:  # a file system that has no locks
            raise _unusable(error) from error
        yield
    finally:
        os.close(descriptor)


def _unusable(error: OSError) -> ConfigError:
    return ConfigError(f"The directory of -data cannot be used: {os.strerror(error.errno or 0)}.")
