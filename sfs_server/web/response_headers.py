"""The headers of every response, and whether the connection is closed after it.

aiohttp calls ``add_headers`` just before it sends the headers of a response, whichever handler made
the response, and however its body is sent.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, hdrs, web

from sfs_server.http import tus
from sfs_server.web.keys import IN_URL, LIFECYCLE, REQUEST_ID, TAKEN


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add what every response has. It is the last one of its connection where its handler or
    aiohttp says so, and where nothing that follows can or should be read as a request:

    - the body of this request has not been read to its end (RFC 9110 §10.1.1), or was read past
      aiohttp. aiohttp reads on for its ``lingering_time`` before it closes, so that a client that
      is still sending sees the response and not a reset.
    - the request asks for an Upgrade. None is made, and aiohttp may lose what was sent behind it.
    - only the end of the connection ends the body, in HTTP/1.0 (RFC 9112 §6.3).
    - the process stops.
    """
    headers = response.headers
    headers["X-Request-Id"] = request[REQUEST_ID]
    headers[hdrs.SERVER] = "SFS"
    if IN_URL in request:
        headers["Referrer-Policy"] = "no-referrer"
    if tus.requested(request.headers):  # also on a refusal
        headers["Tus-Resumable"] = tus.VERSION
    said = headers.get(hdrs.CONNECTION)
    if (
        said == "close"
        or (said != "keep-alive" and request.version < HttpVersion11)
        or (request.body_exists and not request.content.at_eof())
        or TAKEN in request
        or hdrs.UPGRADE in request.headers
        or request.app[LIFECYCLE].draining
    ):
        response.force_close()
        headers[hdrs.CONNECTION] = "close"
