"""Folders: make, move, delete. What is in one is shown by :mod:`sfs_server.handlers.index`."""

from __future__ import annotations

from aiohttp import web

from sfs_server.errors import Problem


async def refuse_upload(request: web.Request) -> web.Response:
    """POST, PUT ``/storage/:ns/:path/``: a file is uploaded under its own name."""
    raise Problem(
        400,
        "A path that ends with a slash is that of a folder: to upload a file, write its name behind "
        "the slash; to make a folder, use MKCOL.",
    )


async def make(request: web.Request) -> web.Response:
    """MKCOL ``/storage/:ns/:path/``."""
    raise Problem(501, "This is not built yet.")


async def delete(request: web.Request) -> web.Response:
    """DELETE ``/storage/:ns/:path/``."""
    raise Problem(501, "This is not built yet.")


async def move(request: web.Request) -> web.Response:
    """MOVE ``/storage/:ns/:path``, with or without a slash."""
    raise Problem(501, "This is not built yet.")
