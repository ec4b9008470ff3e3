"""The secret for tokens, and files that only this user may read.

If no secret and no key is configured, the server makes a secret at its first start, and keeps it
under ``-data``: tokens stay valid after a restart, and ``sfs-server token`` can sign tokens. Anyone
who can read the file can sign tokens too.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sfs_server.config import Config, ConfigError

MIN_SECRET_BYTES = 16
"""The length of the shortest secret for tokens."""

MAX_SECRET_FILE_BYTES = 4096
"""How much of the file with the secret is copied; one that SFS made has 64 bytes."""

SECRET_FILE = "jwt-secret"  # noqa: S105 - the name of a file  # nosec B105
"""The name of the file under ``-data`` with the secret for tokens that SFS has made."""


def secret_of(config: Config, *, make: bool = True) -> str | None:
    """The HS256 secret: JWT_SECRET, or else the content of the file SECRET_FILE under ``-data``,
    which has mode 0600. None if ``-jwt-public-key`` or ``-jwks-url`` is given.

    ``make``: make the file if there is none. Only the server does so: a file that another command
    made might belong to another user, and the server could not read it. Raises ConfigError if
    there is no file, or it cannot be read or made.
    """
    if config.jwt_public_key or config.jwks_url:
        return None
    if config.jwt_secret is not None:
        return config.jwt_secret
    path = os.path.join(config.data, SECRET_FILE)
    try:
        if make and not os.path.exists(path):
            os.makedirs(config.data, exist_ok=True)
            with suppress(FileExistsError):  # another process was first: its secret is used
                write_private(path, os.urandom(32).hex().encode(), replace=False)
        with open(path, encoding="ascii") as file:
            secret = file.read().strip()
    except (FileNotFoundError, NotADirectoryError) as error:
        if make:
            raise _unusable(os.strerror(error.errno or 0)) from error
        raise ConfigError(
            f"No server has made a secret for tokens under -data (here {config.data!r}): start the "
            "server once, give the -data of the server, or set the JWT_SECRET that it uses."
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
    """Copy the file with the secret from the directory ``source`` to the directory ``target``, if
    there is one in ``source``. Raises OSError."""
    with suppress(FileNotFoundError), open(os.path.join(source, SECRET_FILE), "rb") as file:
        content = file.read(MAX_SECRET_FILE_BYTES)
        write_private(os.path.join(target, SECRET_FILE), content, replace=True)


def write_private(path: str, content: bytes, *, replace: bool) -> None:
    """Write the file ``path`` so that only this user can read it (mode 0600). The write is atomic,
    and durable (fsync) when this returns.

    ``replace``: what to do if the file exists: replace it, or raise FileExistsError. Raises
    OSError.
    """
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    temporary = f"{path}.{os.getpid()}"
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # left by a process that was killed
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
