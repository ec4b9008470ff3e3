"""Pages of other origins: which responses they may read, and which requests they may make.

All of it is left out where no origin is allowed. Which origin is allowed, and what it may do, is
in :mod:`sfs_server.http.cors`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from sfs_server.web.keys import ORIGINS


async def share_response(request: web.Request, response: web.StreamResponse) -> None:
    """Let the page that made the request read its response, if its origin is allowed. aiohttp calls
    this before the headers of a response go out."""
    request.app[ORIGINS].share(request.headers, response.headers)


@web.middleware
async def respond_to_preflight(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Respond to the preflight of an allowed origin (Fetch §3.2.2), for any path. What it asks for
    is not looked at: the browser compares it with the response."""
    if (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        and request.rel_url.raw_path.startswith("/")
    ):
        headers = request.app[ORIGINS].preflight(request.headers)
        if headers is not None:
            return web.Response(status=204, headers=headers)
    return await handler(request)
