"""GET, HEAD ``/storage/:ns/[:path/]``: the index of a folder, as JSON or as a page of links."""

from __future__ import annotations

from aiohttp import hdrs, web

from sfs_server.auth import Action, InvalidToken, subjects_of
from sfs_server.http import Target, target, wants_json
from sfs_server.listing import POLICY, IndexPage, JsonArray, query_of, send_list
from sfs_server.web import LINK, LINKS, permitted

_HEADERS: dict[str, str] = {
    hdrs.CACHE_CONTROL: "private, no-cache",
    hdrs.VARY: "Accept, Authorization, Cookie, Origin",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = {**_HEADERS, "Content-Security-Policy": POLICY}


async def index(request: web.Request) -> web.StreamResponse:
    """Respond with what is right in a folder: as JSON, like ``/storage/files?folder=``, where
    ``Accept`` asks for that, else as a page of links. The query narrows it like that of a list.
    Raises NoSuchFolder."""
    asked = target(request.rel_url.raw_path)
    query = query_of(request.query, asked.path)
    await permitted(request, Action.READ, asked.namespace, stale_ok=True)
    if wants_json(request.headers):
        array = JsonArray(asked.namespace, query)
        return await send_list(request, asked.namespace, query, array, _HEADERS)
    token = request.query.get("token", "")
    page = IndexPage(asked.namespace, query, parent=_goes_up(request, asked, token), token=token)
    return await send_list(request, asked.namespace, query, page, _PAGE_HEADERS)


def _goes_up(request: web.Request, asked: Target, token: str) -> bool:
    """Whether there is a folder above, which is open to whoever sees this page: a link may not
    be."""
    if not asked.path or LINK not in request:
        return bool(asked.path)
    above = subjects_of(asked.namespace, asked.path.rpartition("/")[0], folder=True)
    try:
        request.app[LINKS].open(token, above)
    except InvalidToken:
        return False
    return True
