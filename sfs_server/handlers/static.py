"""The web page: every path outside the API."""

from __future__ import annotations

from aiohttp import hdrs, web

from gfs import clock
from sfs_server.errors import PRECONDITION_FAILED, Problem
from sfs_server.http import accepted, etag_of, plan, wants_page
from sfs_server.page import StaticFile, StaticFiles, Variant
from sfs_server.web import STATIC

_FOR_EVER = "public, max-age=31536000, immutable"
"""The Cache-Control of a file whose name changes with its content."""

_ASK_AGAIN = "no-cache"
"""That of every other file: a cache asks whether it has changed, each time."""


async def serve(request: web.Request) -> web.Response:
    """GET, HEAD of a file of the page. A browser that navigates to any other path gets
    ``index.html``.

    Raises Problem 404 for other requests, such as for a script that does not exist: HTML in its
    place would be a confusing error.
    """
    files = request.app[STATIC]
    found, kept = files.find(request.path)
    if found is None:
        if not wants_page(request.headers):
            raise Problem(404, "There is nothing at this path.")
        found = files.index
    variant = _choose(request, found)
    headers = _headers(files, found, variant, kept=kept)
    # As for a HEAD, where Range has no meaning: so small a file is sent whole (RFC 9110 §14.2).
    status = plan("HEAD", request.headers, variant.info, clock.unix()).status
    if status == 412:
        raise Problem(412, PRECONDITION_FAILED)
    if status == 304:
        return web.Response(status=304, headers=headers)
    if variant.coding is not None:
        headers[hdrs.CONTENT_ENCODING] = variant.coding
    headers[hdrs.CONTENT_TYPE] = found.media_type
    return web.Response(body=variant.body, headers=headers)


def _choose(request: web.Request, found: StaticFile) -> Variant:
    weights = dict(accepted(request.headers.get(hdrs.ACCEPT_ENCODING, "")))
    if found.packed is not None and weights.get("gzip", weights.get("*", 0.0)) > 0.0:
        return found.packed
    return found.plain


def _headers(
    files: StaticFiles, found: StaticFile, variant: Variant, *, kept: bool
) -> dict[str, str]:
    headers = {
        hdrs.ETAG: etag_of(variant.info),
        hdrs.CACHE_CONTROL: _FOR_EVER if kept else _ASK_AGAIN,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if found.packed is not None:
        headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
    if files.policy is not None:
        headers["Content-Security-Policy"] = files.policy
    return headers
