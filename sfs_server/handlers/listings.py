"""``GET /storage/files``: the files of a namespace, or one folder of it, as a JSON array."""

from __future__ import annotations

from aiohttp import hdrs, web

from sfs_server.auth import DEFAULT_NAMESPACE, Action
from sfs_server.http import check_namespace
from sfs_server.listing import JsonArray, query_of, send_list
from sfs_server.web import permitted

_HEADERS: dict[str, str] = {
    hdrs.CACHE_CONTROL: "private, no-cache",
    hdrs.VARY: "Authorization, Origin",
}


async def list_files(request: web.Request) -> web.StreamResponse:
    """Respond with the files at all depths or, with ``?folder=``, with what is right in a folder:
    all of it, or one page if there is a ``limit``. Raises NoSuchFolder."""
    namespace = check_namespace(request.query.get("namespace", DEFAULT_NAMESPACE))
    query = query_of(request.query)
    await permitted(request, Action.READ, namespace, stale_ok=True)
    return await send_list(request, namespace, query, JsonArray(namespace, query), _HEADERS)
