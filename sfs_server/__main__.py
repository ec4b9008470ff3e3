"""``sfs-server`` and ``python -m sfs_server``: parse, serve until a signal, drain, stop.

A stop has three steps, so that nobody is turned away who could have been served. SIGTERM makes
``/readyz`` answer 503, and for ``-drain-grace`` seconds everything else goes on: a load balancer
needs that long to see it and to send new connections elsewhere. Then the port is closed, event
streams end with a hint to come back, and what runs gets ``-drain-timeout`` seconds. What is left is
cut: its connection breaks, so that no body looks whole that is not. A second signal cuts at once.
SIGHUP (the terminal is gone) and SIGQUIT do the same, unless they were ignored when the process
began, as nohup has it. SIGINT comes from a keyboard, where there is no load balancer: it skips the
first step. No other signal that a person sends ends the process, because the embedded PostgreSQL,
in a session of its own, would run on: SIGUSR1 and SIGUSR2 do nothing.
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

from sfs_server import __version__, backup, cli, listening
from sfs_server.app import make_app
from sfs_server.auth import mint, secret_of
from sfs_server.config import Config, ConfigError
from sfs_server.logs import one_line, set_up_logging
from sfs_server.postgres import refuse_root
from sfs_server.web import LIFECYCLE, Lifecycle

SIGN_IN_SECONDS = 24 * 3600.0
DRAIN_POLL_SECONDS = 0.05
CLOSE_SECONDS = 1.0
"""What a request gets to notice that it is being ended, when the drain is over."""

KEPT_BYTES = 16 * 1024 * 1024
"""Twice as much freed memory is kept for the next pieces."""

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
    """Open what is closed of standard input, output and error (``<&-``) on /dev/null. Otherwise the
    next socket or file gets its number, is written to as if it were the log, and libuv aborts when
    it is to close one of these three."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _give_up_broken_streams() -> None:
    """Put /dev/null in the place of what cannot be written (the terminal is gone, the disk full).
    Python would try once more at its exit, and end with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _run(work: Coroutine[None, None, str]) -> str:
    """Do the work of a command; its result. A signal to stop cancels it, so that an embedded
    PostgreSQL that it has started ends with it. Raises ConfigError."""

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
            # A thread may be copying still, which asyncio would wait for.
            print(f"sfs-server: stopped by {taken[0].name}, not finished.", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)

    return asyncio.run(cancellable())


def _on_stop(take: Callable[[signal.Signals], None]) -> None:
    """Have ``take`` called with each signal that asks the process to stop."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if not ignored or number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, take, number)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_DFL:  # else a profiler or debugger waits for it
            loop.add_signal_handler(number, _log.info, "%s is ignored", number.name)


def _allow_connections() -> None:
    """Use all the descriptors that the system grants: most set the soft limit far lower, for
    programs that use select(2), and each connection takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _keep_freed_memory() -> None:
    """Let what pieces are freed from be used again for the next ones. glibc would give it back to
    the system and take it again, page by page: 256 faults for a MiB. It keeps up to twice the
    largest block that was ever freed (mallopt(3), M_MMAP_THRESHOLD); this one is never touched."""
    bytearray(KEPT_BYTES)


class _Signals:
    """``first`` is set by the first signal to stop, ``second`` by one more."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self.interrupted = False
        """The first one was SIGINT."""
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
    """Do ``work``, unless ``stop`` is set before it is done; whether it is."""
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
    """Wait until no request is being answered, the time is over, or ``end`` is set.

    Connections that are open are served on, each for one more request. The shutdown of aiohttp,
    which follows, stops reading from all of them at once: no upload could finish.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    await asyncio.sleep(0)  # what has been received is being handled now
    while lifecycle.running and not end.is_set() and loop.time() < deadline:
        await _sleep(DRAIN_POLL_SECONDS, end)


def _banner(config: Config, names: Sequence[tuple[Any, ...]]) -> None:
    """Say where the service is; ``names`` are those of its sockets."""
    origin, reach = listening.described(config.addr.host, names)
    place = f"{os.path.abspath(config.data)} (engine: embedded)"
    if config.master is not None:
        place = f"{config.master} (engine: seaweedfs)"
    lines = [
        f"SFS {__version__} serves at {origin}",
        *([f"  reach     {reach}"] if reach else []),
        f"  files     {place}",
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
    with suppress(OSError):  # nobody reads it
        print(*map(one_line, lines), sep="\n", flush=True)


if __name__ == "__main__":
    main()
