"""The directory of ``-data``: which process has it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sfs_server.config import ConfigError


class InUse(ConfigError):
    """Another process has it."""


@contextmanager
def sole_user(data: str) -> Iterator[None]:
    """Keep other processes away from the embedded PostgreSQL under ``data``, which is made if need
    be. Raises InUse if one has it, ConfigError if the directory cannot be had."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        os.makedirs(data, exist_ok=True)
        descriptor = os.open(os.path.join(data, "lock"), flags, 0o600)
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
