"""What a path that takes uploads by tus can do. OPTIONS of all others gets its response where the
router finds no handler (:mod:`sfs_server.web.problems`)."""

from __future__ import annotations

from aiohttp import hdrs, web

from sfs_server.http import tus
from sfs_server.web import CONFIG


async def options(request: web.Request) -> web.Response:
    """OPTIONS: the methods that the path takes, and what the service can do of tus. The same for
    everyone, whether or not there is something at the path."""
    resource = request.match_info.route.resource
    methods = () if resource is None else sorted(route.method for route in resource)
    headers = tus.capabilities(request.app[CONFIG].max_upload_bytes)
    return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(methods), **headers})
