"""Wiring: what lives as long as the application, started in order and stopped in reverse order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

from aiohttp import web

from gfs.errors import GfsError
from sfs_server import page, postgres
from sfs_server.archives import Archives
from sfs_server.auth import DEFAULT_NAMESPACE, Links, Verifier, secret_of
from sfs_server.changes import Changes
from sfs_server.config import Config, ConfigError
from sfs_server.database import Database, StatementFailed, migrate
from sfs_server.errors import DatabaseUnavailable
from sfs_server.exchange import Exchange
from sfs_server.http import MAX_FIELD_BYTES, MAX_HEADERS, MAX_TARGET_BYTES, Origins, Proxies
from sfs_server.logs import AccessLog
from sfs_server.metrics import Metrics
from sfs_server.namespaces import Namespaces, Recounter
from sfs_server.postgres import sole_user
from sfs_server.progress import Hub, Relay
from sfs_server.routes import add_routes
from sfs_server.store import open_store, require_its_database
from sfs_server.streams import Streams
from sfs_server.uploads import Sweeper, Uploads
from sfs_server.web import (
    ACCESS_LOG,
    ARCHIVES,
    CHANGES,
    CONFIG,
    DATABASE,
    FILESYSTEM,
    LIFECYCLE,
    LINKS,
    METRICS,
    NAMESPACES,
    ORIGINS,
    PROGRESS,
    PROXIES,
    RECEIVE_POOL,
    SEND_POOL,
    STATIC,
    STREAMS,
    UPLOADS,
    VERIFIER,
    Lifecycle,
    ServerLog,
    add_headers,
    identify,
    install,
    log_request,
    respond_to_errors,
    respond_to_preflight,
    share_response,
)

SEND_THREADS = 16
"""The number of threads in which downloads wait for the disk; more downloads wait for a thread."""

RECEIVE_THREADS = 16
"""The number of threads in which large uploads are received; each upload leaves its thread after a
burst."""

KEEPALIVE_SECONDS = 75.0
"""The time after which an idle connection is closed. It is longer than that of the gateways in
front (nginx: 60 s): if this end closed first, the gateway could send a request into a closing
connection, and respond with 502."""

LINGER_SECONDS = 30.0
"""How long a client whose request was refused may go on sending before its connection is closed."""

READ_BUFFER = 64 * 1024
"""The number of bytes of a body that aiohttp buffers before it stops reading from the socket."""

_CONNECTION = {
    "access_log": None,  # log_request writes a line of its own
    "auto_decompress": False,  # the bytes stored are the bytes sent
    "handler_cancellation": True,  # a handler is cancelled when its client leaves
    "keepalive_timeout": KEEPALIVE_SECONDS,
    "lingering_time": LINGER_SECONDS,
    "logger": ServerLog(logging.getLogger("aiohttp.server"), {}),
    "max_headers": MAX_HEADERS,
    "max_field_size": MAX_FIELD_BYTES,
    "max_line_size": MAX_TARGET_BYTES,
    "read_bufsize": READ_BUFFER,
}


def make_app(config: Config) -> web.Application:
    """The application for ``config``. What it needs is started with it, and stopped with it.

    Starting raises ConfigError for what the operator can repair.
    """
    install()
    origins = Origins(config.cors_origins)
    shared = bool(config.cors_origins)
    app = web.Application(
        # Around each handler, from the outside in.
        middlewares=[
            log_request,
            respond_to_errors,
            *([respond_to_preflight] if shared else []),
            identify,
        ],
        handler_args={**_CONNECTION, "origins": origins},
    )
    app.on_response_prepare.append(add_headers)
    if shared:
        app.on_response_prepare.append(share_response)
    app[CONFIG] = config
    app[ORIGINS] = origins
    app[PROXIES] = Proxies(config.trusted_proxies)
    app[STREAMS] = Streams(config.max_streams)
    app[METRICS] = Metrics()
    app[LIFECYCLE] = Lifecycle()
    app[ARCHIVES] = Archives()
    app[ACCESS_LOG] = AccessLog(config.log_format)
    app.cleanup_ctx.extend((_lag, _page, _store, _tokens, _database, _streams, _threads))
    add_routes(app)
    return app


async def _store(app: web.Application) -> AsyncIterator[None]:
    config = app[CONFIG]
    app[FILESYSTEM] = fs = await open_store(config, app[METRICS].gfs)
    try:
        try:
            await fs.make_directory(DEFAULT_NAMESPACE)
        except GfsError as error:
            flag = "-data" if config.master is None else "-master"
            raise ConfigError(f"The store of {flag} cannot be used: {error}.") from error
        yield
    finally:
        await fs.close()


async def _database(app: web.Application) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        url = app[CONFIG].database
        if url is None:
            stack.enter_context(sole_user(app[CONFIG].data))
            embedded = await postgres.start(app[CONFIG].data)
            stack.push_async_callback(embedded.stop)
            url = embedded.url
        app[DATABASE] = database = await Database.connect(url)
        stack.push_async_callback(database.close)
        try:
            await migrate(database)
            app[LINKS] = await Links.of(database)
        except (DatabaseUnavailable, StatementFailed) as error:
            raise ConfigError(f"The tables of the database cannot be made: {error}.") from error
        await require_its_database(app[CONFIG], app[FILESYSTEM], database)
        app[NAMESPACES] = namespaces = Namespaces(database)
        stack.push_async_callback(namespaces.close)
        await namespaces.start()
        recounter = Recounter(database, app[FILESYSTEM])
        stack.push_async_callback(recounter.close)
        app[LIFECYCLE].on_drain.append(recounter.stop)
        recounter.start()
        app[METRICS].watch_database(database, namespaces, recounter)
        app[UPLOADS] = uploads = Uploads(database, app[FILESYSTEM], app[CONFIG].upload_expiry)
        sweeper = Sweeper(uploads)
        stack.push_async_callback(sweeper.close)
        app[LIFECYCLE].on_drain.extend((uploads.drain, sweeper.stop))
        sweeper.start()
        app[METRICS].uploads = uploads
        yield


async def _streams(app: web.Application) -> AsyncIterator[None]:
    app[PROGRESS] = hub = Hub()
    app[CHANGES] = changes = Changes()
    app[LIFECYCLE].on_drain.extend((hub.streams.drain, changes.streams.drain))
    app[METRICS].progress_watchers = lambda: len(hub.streams) + len(changes.streams)
    async with AsyncExitStack() as stack:
        stack.callback(hub.close)
        if app[CONFIG].database is not None:  # no other process has the embedded one
            exchange = Exchange(app[DATABASE])
            Relay(hub, exchange)
            changes.join(exchange)
            app[UPLOADS].join(exchange)
            stack.push_async_callback(exchange.close)
            await exchange.start()
        yield


async def _lag(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(app[METRICS].watch_loop())
    yield
    task.cancel()
    await asyncio.wait([task])


async def _page(app: web.Application) -> AsyncIterator[None]:
    app[STATIC] = await asyncio.to_thread(page.load, app[CONFIG].static)
    yield


async def _tokens(app: web.Application) -> AsyncIterator[None]:
    secret = await asyncio.to_thread(secret_of, app[CONFIG])
    app[VERIFIER] = verifier = Verifier.from_config(app[CONFIG], secret)
    yield
    await verifier.close()


async def _threads(app: web.Application) -> AsyncIterator[None]:
    with (
        ThreadPoolExecutor(SEND_THREADS, "sfs-send") as sending,
        ThreadPoolExecutor(RECEIVE_THREADS, "sfs-receive") as receiving,
    ):
        app[SEND_POOL], app[RECEIVE_POOL] = sending, receiving
        yield
    app[ACCESS_LOG].flush()
