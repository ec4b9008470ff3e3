"""``?archive=zip``: a folder and all below it as one file."""

from __future__ import annotations

from aiohttp import web

from sfs_server.errors import Problem


async def archive(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/:ns/:path/``."""
    raise Problem(501, "This is not built yet.")
