"""The directory of ``-data``: which user's it is, and which process has it."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from sfs_server.config import Config, ConfigError

_LOCK = "lock"


def refuse_root(config: Config) -> None:
    """Raise ConfigError where this process is root's and what ``config`` uses under ``-data`` is
    another user's: the server of that user could not use what root would write there. The owner of
    the lock is who has served from there; before there is one, the owner of the directory counts.
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
    """Another process has it."""


@contextmanager
def sole_user(data: str) -> Iterator[None]:
    """Keep other processes away from the embedded PostgreSQL under ``data``, which is made if need
    be. Raises InUse if one has it, ConfigError if the directory cannot be had."""
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
