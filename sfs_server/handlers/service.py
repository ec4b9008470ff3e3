"""What the service says about itself: health, readiness, metrics, the size of its store, and who
the caller is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

from aiohttp import hdrs, web

from gfs.errors import GfsError, StoreFull
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.openapi import document
from sfs_server.web import DATABASE, FILESYSTEM, LIFECYCLE, METRICS, NAMESPACES, PRINCIPAL

CHECK_SECONDS = 5.0
"""How long the database or the store may take to respond before it counts as unavailable."""

_FULL = "full"
_NO_STORE = {hdrs.CACHE_CONTROL: "no-store"}
_CONTRACT = json.dumps(document(), indent=1).encode()


async def healthz(request: web.Request) -> web.Response:
    """200 as long as the process runs."""
    return web.json_response({"status": "ok"}, headers=_NO_STORE)


async def readyz(request: web.Request) -> web.Response:
    """200 if database and store respond and the process does not stop, else 503.

    A full store is ready: files can be read, and deleted, which helps. So is a process that is not
    notified of changes, and therefore asks the database each time: ``listening`` says why."""
    app = request.app
    database, store = await asyncio.gather(
        _check(app[DATABASE].check()), _check(app[FILESYSTEM].check())
    )
    process = "draining" if app[LIFECYCLE].draining else "ok"
    checks = {"database": database, "store": store, "process": process}
    ready = all(state in ("ok", _FULL) for state in checks.values())
    checks["listening"] = app[NAMESPACES].listening_state
    return web.json_response({"checks": checks}, status=200 if ready else 503, headers=_NO_STORE)


async def _check(check: Awaitable[None]) -> str:
    """``ok``, ``full``, or the class of the error that ``check`` raises."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except StoreFull:
        return _FULL
    except (GfsError, DatabaseUnavailable, TimeoutError) as error:
        return type(error).__name__
    return "ok"


async def metrics(request: web.Request) -> web.Response:
    """The metrics in the text format of Prometheus, at most a second old."""
    found = request.app[METRICS]
    return web.Response(
        body=found.scrape(), headers={hdrs.CONTENT_TYPE: found.content_type, **_NO_STORE}
    )


async def openapi(request: web.Request) -> web.Response:
    """The contract of the service in OpenAPI 3.1."""
    return web.Response(
        body=_CONTRACT, content_type="application/json", headers={hdrs.CACHE_CONTROL: "no-cache"}
    )


async def status(request: web.Request) -> web.Response:
    """The store: its engine, its servers, and its bytes."""
    found = await request.app[FILESYSTEM].status()
    return web.json_response(
        {
            "engine": found.engine,
            "chunkserver_count": found.chunkservers,
            "total_servers": found.servers,
            "capacity": found.capacity,
            "used": found.used,
        },
        headers=_NO_STORE,
    )


async def session(request: web.Request) -> web.Response:
    """Who the caller is. Raises Problem 401 if they are not signed in."""
    principal = request[PRINCIPAL]
    if principal.anonymous:
        raise Problem(401, "This request carries no token.", {hdrs.WWW_AUTHENTICATE: "Bearer"})
    return web.json_response(
        {"user": principal.user, "username": principal.username, "admin": principal.admin},
        headers=_NO_STORE,
    )
