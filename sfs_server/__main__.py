"""``sfs-server`` and ``python -m sfs_server``: parse, serve until a signal, drain, stop.

A stop has three steps, so that no request is lost that could have been served. After SIGTERM
``/readyz`` responds with 503, and for ``-drain-grace`` seconds everything else goes on: a load
balancer needs that long to notice, and to send new connections elsewhere. Then the port is closed,
event streams end with a hint to connect again, and running requests get ``-drain-timeout`` seconds.
What is left is cut: its connection breaks, so that no incomplete body looks complete. A second
signal cuts at once. SIGHUP (the terminal was closed) and SIGQUIT do the same, unless they were
ignored when the process started, as under nohup. SIGINT comes from a keyboard, where there is no
load balancer: it skips the first step. SIGUSR1 and SIGUSR2 do nothing: if they ended the process,
the embedded PostgreSQL, which has a session of its own, would go on running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import uvloop
from aiohttp import web

from gfs.clock import Deadline
from sfs_server import __version__, backup, cli, listening
from sfs_server.app import make_app
from sfs_server.auth import mint, secret_of
from sfs_server.config import Config, ConfigError
from sfs_server.logs import one_line, set_up_logging
from sfs_server.postgres import refuse_root
from sfs_server.web import LIFECYCLE, Lifecycle

SIGN_IN_SECONDS = 24 * 3600.0
"""How long the sign-in link of the banner is valid."""

DRAIN_POLL_SECONDS = 0.05
"""How often a drain looks whether requests are still running."""

CLOSE_SECONDS = 1.0
"""How long a request has to clean up after it was cancelled at the end of the drain."""

FREED_BLOCK_BYTES = 16 * 1024 * 1024
"""The size of the block whose release has glibc keep twice as much freed memory."""

_MOVES = (
    "move in one step if the filers have a store with transactions, such as PostgreSQL; "
    "LevelDB, their default, has none"
)
"""A filer does not say which store it has, so this is printed for every cluster."""

_log = logging.getLogger("sfs")


def main() -> None:
    """Run the command line. Exits with 0, or with 1 (2 for an unknown flag) and a sentence on
    standard error."""
    _open_standard_streams()
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["token"]:
            print(cli.token(arguments[1:]))
            return
        if arguments[:1] == ["backup"]:
            config, to, tables_only = cli.parse_backup(arguments[1:])
            refuse_root(config)
            print(_run(backup.backup(config, to, tables_only)))
            return
        if arguments[:1] == ["restore"]:
            config, source = cli.parse_restore(arguments[1:])
            refuse_root(config)
            print(_run(backup.restore(config, source)))
            return
        config = cli.parse_server(arguments)
        refuse_root(config)
        set_up_logging(config.log_format)
        _allow_connections()
        _keep_freed_memory()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config))
        _give_up_broken_streams()
    except ConfigError as error:
        sys.exit(f"sfs-server: {error}")


def _open_standard_streams() -> None:
    """Open /dev/null as standard input, output and error where they are closed (``<&-``). Otherwise
    the next socket or file would get that number and be written to as if it were the log, and libuv
    aborts when it is to close one of these three."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _give_up_broken_streams() -> None:
    """Replace standard output and error by /dev/null where they cannot be written (the terminal was
    closed, the disk is full). Otherwise Python would try again at its exit, and exit with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _run(work: Coroutine[None, None, str]) -> str:
    """Do the work of a command, and return its result. A signal to stop cancels the work, so that
    it stops the embedded PostgreSQL that it has started. Raises ConfigError."""

    async def cancellable() -> str:
        task = asyncio.ensure_future(work)
        taken: list[signal.Signals] = []

        def take(number: signal.Signals) -> None:
            taken.append(number)
            task.cancel()

        _on_stop(take)
        try:
            return await task
        except asyncio.CancelledError:
            # asyncio would wait for a thread that may still be copying.
            print(f"sfs-server: stopped by {taken[0].name}, not finished.", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)

    return asyncio.run(cancellable())


def _on_stop(take: Callable[[signal.Signals], None]) -> None:
    """Have the event loop call ``take`` for each signal that asks the process to stop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if not ignored or number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, take, number)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_DFL:  # else a profiler or a debugger uses it
            loop.add_signal_handler(number, _log.info, "%s is ignored", number.name)


def _allow_connections() -> None:
    """Raise the soft limit of open descriptors to the hard limit. Most systems set the soft limit
    far lower, for programs that use select(2), and each connection takes a descriptor."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of freed pieces for the next ones. Otherwise it would return the
    memory to the system and get it again page by page: 256 page faults for a MiB. It keeps up to
    twice the size of the largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD). The
    block that is freed here is never written to, and so takes no memory."""
    bytearray(FREED_BLOCK_BYTES)


class _Signals:
    """The signals to stop: ``first`` is set by the first one, ``second`` by the next one."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.interrupted = False
        """Whether the first one was SIGINT."""
        _on_stop(self._take)

    def _take(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self.second.set()
        else:
            self.interrupted = number == signal.SIGINT
            self.first.set()


async def serve(config: Config) -> None:
    """Serve until a signal to stop, then let transfers finish. Raises ConfigError."""
    app = make_app(config)
    runner = web.AppRunner(app, shutdown_timeout=CLOSE_SECONDS)
    signals = _Signals()
    try:
        if not await _before(signals.first, runner.setup()):
            return
        site = web.TCPSite(runner, config.addr.host or None, config.addr.port)
        try:
            await site.start()
        except OSError as error:
            raise listening.failure(*config.addr, error) from error
        _banner(config, runner.addresses)
        await signals.first.wait()
        lifecycle = app[LIFECYCLE]
        lifecycle.draining = True
        _log.info("stopping: transfers have %g s to finish", config.drain_timeout)
        if not signals.interrupted:
            await _sleep(config.drain_grace, signals.second)
        await site.stop()
        lifecycle.drain()
        await _drain(lifecycle, config.drain_timeout, signals.second)
        if lifecycle.running:
            _log.warning("stopping: requests that are cut: %d", lifecycle.running)
            for connection in runner.server.connections if runner.server else ():
                connection.force_close()
    finally:
        await runner.cleanup()


async def _before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do ``work`` and return True, or cancel it and return False if ``stop`` is set before."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            return False
        working.result()
        return True
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait([working, stopping])


async def _sleep(seconds: float, end: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await end.wait()


async def _drain(lifecycle: Lifecycle, seconds: float, end: asyncio.Event) -> None:
    """Wait until no request is running, ``seconds`` have passed, or ``end`` is set.

    Each open connection may send one more request meanwhile. The shutdown of aiohttp, which
    follows, stops reading from all connections at once, so that no upload could finish.
    """
    deadline = Deadline(seconds)
    await asyncio.sleep(0)  # requests that have been received are started
    while lifecycle.running and not end.is_set() and deadline.left > 0:
        await _sleep(DRAIN_POLL_SECONDS, end)


def _banner(config: Config, names: Sequence[tuple[Any, ...]]) -> None:
    """Print where the service is; ``names`` are the addresses of its sockets."""
    origin, reach = listening.described(config.addr.host, names)
    store = [f"  files     {os.path.abspath(config.data)} (engine: embedded)"]
    if config.master is not None:
        store = [f"  files     {config.master} (engine: seaweedfs)", f"  folders   {_MOVES}"]
    lines = [
        f"SFS {__version__} serves at {origin}",
        *([f"  reach     {reach}"] if reach else []),
        *store,
        f"  database  {'-database' if config.database else 'embedded PostgreSQL'}",
    ]
    secret = secret_of(config)
    if config.database is None and secret is not None and sys.stdout.isatty():
        operator = mint(
            secret,
            user="operator",
            admin=True,
            ttl=SIGN_IN_SECONDS,
            issuer=config.jwt_issuer,
            audience=config.jwt_audience,
        )
        lines.append(f"  sign in   {origin}/#token={operator}")
    if secret is not None:
        data = f" -data {shlex.quote(os.path.abspath(config.data))}"
        where = "" if config.jwt_secret else data
        lines.append(f"  tokens    sfs-server token{where} -user NAME")
    with suppress(OSError):  # standard output may be closed
        print(*map(one_line, lines), sep="\n", flush=True)


if __name__ == "__main__":
    main()
