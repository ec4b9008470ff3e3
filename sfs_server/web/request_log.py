"""The id of each request, and what is written when it is over: metrics and log lines."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from gfs import clock
from sfs_server.auth import ANONYMOUS
from sfs_server.http import METHODS
from sfs_server.logs import CLIENT_GONE, redact
from sfs_server.web.audit import announce
from sfs_server.web.connection import connection_of
from sfs_server.web.keys import (
    ACCESS_LOG,
    CHANGE,
    CHANGES,
    CLIENT,
    CONFIG,
    LIFECYCLE,
    METRICS,
    PRINCIPAL,
    PROXIES,
    REQUEST_ID,
    TRANSFER,
)

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@web.middleware
async def log_request(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Give the request an id and the address of its client, and count it among those that are
    handled. When it is over, write its metrics, its line of the access log, and its line of the
    audit log if it was about a change."""
    started = clock.monotonic()
    app = request.app
    request_id = request.headers.get("X-Request-Id")
    if request_id is None or not _is_id(request_id):
        request_id = os.urandom(16).hex()
    request[REQUEST_ID] = request_id
    client = request.remote
    if app[CONFIG].trusted_proxies:
        client = app[PROXIES].client(client, request.headers.getall("X-Forwarded-For", ()))
    request[CLIENT] = client or ""
    lifecycle = app[LIFECYCLE]
    lifecycle.running += 1
    status = CLIENT_GONE
    try:
        response = await handler(request)
        if lifecycle.draining:  # also after a response that started before the stop
            response.force_close()
        status = response.status
        return response
    finally:
        lifecycle.running -= 1
        seconds = clock.monotonic() - started
        resource = request.match_info.route.resource
        route = "unknown" if resource is None else resource.canonical
        method = request.method if request.method in METHODS else "other"
        app[METRICS].observe(route, method, status, seconds)
        user = request.get(PRINCIPAL, ANONYMOUS).user
        transfer = request.get(TRANSFER)
        moved = 0 if transfer is None else transfer.moved - transfer.offset
        access_log = app[ACCESS_LOG]
        access_log.write(request_id, method, route, status, moved, seconds, user, client)
        if CHANGE in request:  # a client that lost its connection does not know what came of it
            state = connection_of(request).state
            access_log.audit(request_id, user, client, request[CHANGE], status, state)
            if request[CHANGE].done or status < 300:
                announce(request[CHANGE], app[CHANGES])


def _is_id(text: str) -> bool:
    """Whether ``text`` is used as the id of its request: it must fit into a log line, and not be a
    token that was sent in the wrong field (a JWT has two dots)."""
    if _ID.fullmatch(text) is None:
        return False
    return text.count(".") < 2 or redact(text) == text
