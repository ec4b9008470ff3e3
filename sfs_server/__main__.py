"""``sfs-server`` and ``python -m sfs_server``: parse, serve until a signal, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop
from aiohttp import web

from sfs_server import __version__, cli
from sfs_server.app import make_app
from sfs_server.auth import mint
from sfs_server.config import Config, ConfigError, secret_of
from sfs_server.keys import LIFECYCLE, Lifecycle
from sfs_server.logs import set_up_logging

SIGN_IN_SECONDS = 24 * 3600.0
DRAIN_POLL_SECONDS = 0.05
CLOSE_SECONDS = 1.0
"""What a request gets to notice that it is being ended, when the drain is over."""

_log = logging.getLogger("sfs")


def main() -> None:
    """Run the command line. Exits with 0, or with 1 (2 for an unknown flag) and a sentence on
    standard error."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["token"]:
            print(cli.token(arguments[1:]))
            return
        config = cli.parse_server(arguments)
        set_up_logging(config.log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config))
    except ConfigError as error:
        sys.exit(f"sfs-server: {error}")


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT, then let transfers finish. Raises ConfigError."""
    app = make_app(config)
    runner = web.AppRunner(app, shutdown_timeout=CLOSE_SECONDS)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, stop, runner)
    try:
        await runner.setup()
        site = web.TCPSite(runner, config.host or None, config.port)
        try:
            await site.start()
        except OSError as error:
            resolving = isinstance(error, socket.gaierror)  # whose numbers are not the system's
            reason = error.strerror if resolving else os.strerror(error.errno or 0)
            raise ConfigError(f"-addr cannot be listened on: {reason}.") from error
        _banner(app, config, runner.addresses)
        await stop.wait()
        _log.info("stopping: transfers have %g s to finish", config.drain_timeout)
        await site.stop()
        await _drain(app[LIFECYCLE], loop.time() + config.drain_timeout)
    finally:
        await runner.cleanup()


async def _drain(lifecycle: Lifecycle, deadline: float) -> None:
    """Wait until no request is being answered, or the time is over.

    Connections that are open are served on, each for one more request. The shutdown of aiohttp,
    which follows, stops reading from all of them at once: no upload could finish.
    """
    lifecycle.drain()
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # what has been received is being handled now
    while lifecycle.running and loop.time() < deadline:  # noqa: ASYNC110 - a counter is cheap
        await asyncio.sleep(DRAIN_POLL_SECONDS)


def _signalled(stop: asyncio.Event, runner: web.AppRunner) -> None:
    """The first signal lets transfers finish; a second one ends them."""
    if stop.is_set() and runner.server is not None:
        for connection in runner.server.connections:
            connection.force_close()
    stop.set()


def _banner(app: web.Application, config: Config, addresses: list[tuple[str, int]]) -> None:
    port = addresses[0][1]
    origin = f"http://{config.host or 'localhost'}:{port}"
    place = f"{os.path.abspath(config.data)} (engine: embedded)"
    if config.master is not None:
        place = f"{config.master} (engine: seaweedfs)"
    lines = [
        f"SFS {__version__} serves at {origin}",
        f"  files     {place}",
        f"  database  {'-database' if config.database else 'embedded PostgreSQL'}",
    ]
    secret = secret_of(config)
    if config.database is None and secret is not None and sys.stdout.isatty():
        operator = mint(secret, user="operator", admin=True, ttl=SIGN_IN_SECONDS)
        lines.append(f"  sign in   {origin}/#token={operator}")
    if secret is not None:
        lines.append("  tokens    sfs-server token -user NAME")
    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
