"""The secret for tokens, and files that only this user may read.

On the embedded default the server makes the secret once, and keeps it under ``-data``: tokens
stay valid after a restart, and ``sfs-server token`` can sign. Anyone who can read it can sign.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sfs_server.config import Config, ConfigError

MIN_SECRET_BYTES = 16
"""The length of the shortest secret for tokens."""

MAX_SECRET_FILE_BYTES = 4096
"""The length of the longest file with a secret that is copied."""

SECRET_FILE = "jwt-secret"  # noqa: S105 - the name of a file  # nosec B105
"""The file under ``-data`` with the secret for tokens that SFS has made."""


def secret_of(config: Config, *, make: bool = True) -> str | None:
    """The HS256 secret: JWT_SECRET, or on the embedded default one that is made once and kept
    under ``-data`` with mode 0600. None where a key flag says how tokens are checked.

    ``make``: make one where there is none, which is for the server alone: a command that did could
    leave one that the server cannot read, or that none uses. Raises ConfigError when it cannot be
    read or made, or there is none.
    """
    if config.jwt_public_key or config.jwks_url:
        return None
    if config.jwt_secret is not None:
        return config.jwt_secret
    path = os.path.join(config.data, SECRET_FILE)
    try:
        if make and not os.path.exists(path):
            os.makedirs(config.data, exist_ok=True)
            with suppress(FileExistsError):  # another process was first: its secret is the one
                write_private(path, os.urandom(32).hex().encode(), replace=False)
        with open(path, encoding="ascii") as file:
            secret = file.read().strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        if make:
            raise _unusable(os.strerror(error.errno or 0)) from error
        raise ConfigError(
            f"No server has made a secret for tokens under -data (here {config.data!r}): start the "
            "server once, give the -data of the server, or set the JWT_SECRET that it has."
        ) from error
    except OSError as error:
        raise _unusable(os.strerror(error.errno or 0)) from error
    except UnicodeDecodeError as error:
        raise _unusable("not text") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"The file {SECRET_FILE} under -data is empty or cut short: put back the one of a "
            "backup, or remove it, and the next start of the server makes a new one; "
            "tokens made before are no longer valid then."
        )
    return secret


def copy_secret(source: str, target: str) -> None:
    """Copy the secret from one directory to another, where SFS has made one. Raises OSError."""
    with suppress(FileNotFoundError), open(os.path.join(source, SECRET_FILE), "rb") as file:
        content = file.read(MAX_SECRET_FILE_BYTES)
        write_private(os.path.join(target, SECRET_FILE), content, replace=True)


def write_private(path: str, content: bytes, *, replace: bool) -> None:
    """Write a file that only this user may read (mode 0600): whole or not at all, and durable.

    One that is there is replaced; or it stays, and FileExistsError is raised. Raises OSError.
    """
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    temporary = f"{path}.{os.getpid()}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # of a process that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)
        os.fsync(directory)
    finally:
        os.close(directory)
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _unusable(reason: str) -> ConfigError:
    return ConfigError(
        f"The file {SECRET_FILE} under -data cannot be read or made ({reason}): run this as the "
        "user of the server, give a -data that this user may write to, or set JWT_SECRET."
    )
