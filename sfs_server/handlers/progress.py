"""``GET /sse/progress``: the event stream of one transfer."""

from __future__ import annotations

from aiohttp import web

from sfs_server.errors import Problem
from sfs_server.progress import check_id
from sfs_server.transfer import send_events
from sfs_server.web import CLIENT, LINK, PRINCIPAL, PROGRESS, STREAMS


async def progress(request: web.Request) -> web.StreamResponse:
    """Send the states of the transfer ``?id=``, from its newest one until it ends."""
    id_ = request.query.get("id")
    if id_ is None:
        raise Problem(400, "Say which transfer: ?id=ID.")
    # Whether the caller may watch is decided for each transfer of that id, by may_see().
    user = None if LINK in request else request[PRINCIPAL].user
    with (
        request.app[STREAMS].one(request[CLIENT], user),
        request.app[PROGRESS].watch(check_id(id_), request[PRINCIPAL]) as watcher,
    ):
        return await send_events(request, watcher)
