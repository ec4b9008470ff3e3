"""``GET /sse/changes``: the event stream of what changes in a namespace, or in one of its
folders."""

from __future__ import annotations

from aiohttp import web

from gfs import clock
from gfs.paths import check_path
from sfs_server.auth import Action
from sfs_server.changes import FIRST
from sfs_server.errors import DatabaseUnavailable, Problem
from sfs_server.http import check_namespace
from sfs_server.transfer import send_events
from sfs_server.web import CHANGES, CLIENT, LINK, PRINCIPAL, STREAMS, permitted


async def changes(request: web.Request) -> web.StreamResponse:
    """Send what changes, as long as the caller may read there."""
    name = request.query.get("namespace")
    if name is None:
        raise Problem(400, "Say which namespace: ?namespace=NAME.")
    namespace = check_namespace(name)
    folder = request.query.get("folder")
    if folder:
        check_path(folder)
    await permitted(request, Action.READ, namespace, stale_ok=True)
    expires = request[PRINCIPAL].expires

    async def may_read() -> bool:
        try:
            await permitted(request, Action.READ, namespace, stale_ok=True)
        except (Problem, DatabaseUnavailable):
            return False
        return clock.unix() < expires

    user = None if LINK in request else request[PRINCIPAL].user
    with (
        request.app[STREAMS].one(request[CLIENT], user),
        request.app[CHANGES].watch(namespace, folder, may_read) as stream,
    ):
        if "Last-Event-ID" in request.headers:
            stream.connected_again()
        return await send_events(request, stream, FIRST)
