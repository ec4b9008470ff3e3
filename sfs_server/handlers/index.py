"""The index of a folder: what is in it, as a page or as JSON."""

from __future__ import annotations

from aiohttp import web

from sfs_server.errors import Problem


async def index(request: web.Request) -> web.StreamResponse:
    """GET, HEAD ``/storage/:ns/:path/``."""
    raise Problem(501, "This is not built yet.")
