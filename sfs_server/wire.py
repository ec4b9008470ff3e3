"""What every answer has in common, and what aiohttp's server does by itself, below the application,
with what is no request, or not yet one.

Its own answer and its own log line quote the bytes that its parser stumbled over, and there may be
a token among them. It has a setting for the log, and none for the answer: ``RequestHandler`` makes
it in a method, which is replaced here.

It says ``100 Continue`` before it asks who is to handle the request, also where nobody is, and
refuses what else is expected in a text of its own. Nothing is said instead: ``100 Continue`` goes
out when the body is wanted (RFC 9110 §10.1.1), and the middleware refuses the rest. That default
of all routes is replaced too: those of a 404 and a 405 have no other.

It gives the head of a request as long as a connection may be idle, and that is long, because the
gateways in front decide when an idle one is closed. A head that has begun gets HEAD_SECONDS in all,
however it trickles: the timer that closes idle connections is set to an earlier time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, MutableMapping
from typing import Any

from aiohttp import hdrs, web, web_urldispatcher
from aiohttp.http import HttpProcessingError

from sfs_server.errors import Problem
from sfs_server.keys import IN_URL, LIFECYCLE, ORIGINS, REQUEST_ID

_log = logging.getLogger("sfs.wire")

HEAD_SECONDS = 10.0
"""What the head of a request gets from its first byte to its last."""

_handle_error = web.RequestHandler.handle_error
_data_received = web.RequestHandler.data_received


class WireLog(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, without the bytes that its parser quotes of a malformed
    request: there may be a token among them."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        if isinstance(kwargs.get("exc_info"), HttpProcessingError):
            kwargs["exc_info"] = None
        return msg, kwargs


def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Put into the headers of an answer what belongs into every one."""
    headers = response.headers
    headers["X-Request-Id"] = request[REQUEST_ID]
    headers[hdrs.SERVER] = "SFS"
    if hdrs.UPGRADE in request.headers:  # there is none, and aiohttp may lose what came behind it
        response.force_close()
    if request.app[LIFECYCLE].draining:
        response.force_close()
    if IN_URL in request:
        headers["Referrer-Policy"] = "no-referrer"
    origins = request.app[ORIGINS]
    if origins:
        headers.update(origins.answer(_origin(request)))
        vary = headers.get(hdrs.VARY)
        if vary is None or "origin" not in vary.lower():
            headers[hdrs.VARY] = "Origin" if vary is None else f"{vary}, Origin"


def preflight(request: web.Request) -> web.Response | None:
    """The answer to a preflight of an allowed origin; None for any other request. What it asks for
    is not looked at: the browser compares."""
    asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
    if not asks or not request.rel_url.raw_path.startswith("/"):
        return None
    headers = request.app[ORIGINS].preflight(_origin(request))
    return None if headers is None else web.Response(status=204, headers=headers)


def _origin(request: web.Request) -> str | None:
    found = request.headers.getall(hdrs.ORIGIN, ())
    return found[0] if len(found) == 1 else None


def wants_page(request: web.Request) -> bool:
    """Whether a browser is navigating: its Accept names HTML, and no JSON that it likes better or
    as well and names first (RFC 9110 §12.5.1)."""
    best, page = 0.0, False
    for kind, weight in accepted(request.headers.get(hdrs.ACCEPT, "")):
        if weight > best and (kind == "text/html" or kind.endswith(("/json", "+json"))):
            best, page = weight, kind == "text/html"
    return page


def accepted(field: str) -> Iterator[tuple[str, float]]:
    """The members of an Accept or an Accept-Encoding, in lower case, and what each counts (RFC 9110
    §12.4.2): nothing where that is no number."""
    for member in field.lower().split(","):
        kind, *parameters = (part.strip() for part in member.split(";"))
        weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
        try:
            yield kind, float(weights[0]) if weights else 1.0
        except ValueError:
            yield kind, 0.0


def problem_response(problem: Problem) -> web.Response:
    """The problem document of ``problem`` as an answer (RFC 9457)."""
    headers = {
        **problem.headers,
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.CONTENT_TYPE: "application/problem+json",
        "X-Content-Type-Options": "nosniff",
    }
    body = json.dumps(problem.document()).encode()
    return web.Response(status=problem.status, headers=headers, body=body)


def _answer(
    self: web.RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    """Log and answer without what the client sent. Closes the connection.

    Nothing went wrong here when the client is gone, and nobody is there to be answered: raises
    ConnectionError, which ends the connection.
    """
    if isinstance(exc, ConnectionError):
        raise exc
    if isinstance(exc, HttpProcessingError):
        _log.info("malformed HTTP from %s", request.remote)
    else:
        _handle_error(self, request, status, exc)
    malformed = "The request is not well-formed HTTP, or its head is too long."
    failed = "The service failed. Its log says more."
    response = problem_response(Problem(status, malformed if status < 500 else failed))
    response.headers[hdrs.SERVER] = "SFS"
    response.force_close()
    return response


def _receive(self: web.RequestHandler, data: bytes) -> None:
    """Take what has arrived, and give a head that is not complete no more than its time."""
    _data_received(self, data)
    if self._messages or self._current_request is not None or self.transport is None:
        return  # a head is complete; what came may be of a body
    due = self._loop.time() + HEAD_SECONDS
    if self._keepalive_handle is not None:
        if self._next_keepalive_close_time <= due:
            return
        self._keepalive_handle.cancel()
    self._next_keepalive_close_time = due
    self._keepalive_handle = self._loop.call_at(due, self._process_keepalive)


async def _say_nothing_yet(request: web.Request) -> None:
    pass


web_urldispatcher._default_expect_handler = _say_nothing_yet
web.RequestHandler.handle_error = _answer  # type: ignore[method-assign]
web.RequestHandler.data_received = _receive  # type: ignore[method-assign]
