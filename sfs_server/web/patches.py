"""What is changed in aiohttp. It has no settings for this."""

from __future__ import annotations

from aiohttp import web, web_protocol, web_server, web_urldispatcher

from sfs_server.web.connection import MAX_AHEAD, NO_HEAD, Connection


def install() -> None:
    """Let all aiohttp servers of this process speak to their clients by Connection.

    Nor do they say ``100 Continue`` before a handler is looked for, as aiohttp does also where
    there is none: it goes out when the body is wanted (RFC 9110 §10.1.1). Other expectations are
    refused by :func:`sfs_server.http.check_form`. The function is the default of all routes,
    because those of a 404 and a 405 have no other.
    """
    web_server.RequestHandler = Connection  # type: ignore[attr-defined]
    web_protocol.ERROR = NO_HEAD  # type: ignore[assignment]
    web_protocol.MAX_MSG_QUEUE_SIZE = MAX_AHEAD
    web_urldispatcher._default_expect_handler = _say_nothing_yet


async def _say_nothing_yet(request: web.Request) -> None:
    pass
