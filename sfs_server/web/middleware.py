"""What happens around every handler: an id, the principal, errors as answers, metrics, a log line.

An error before the first byte of an answer becomes ``application/problem+json`` (RFC 9457), or a
small page for a person's browser. An error after it cannot be told to the client any more but by
the connection: it is reset, so that a body that is too short cannot look whole.

An answer to a request whose body has not been read says ``Connection: close`` (RFC 9110 §10.1.1);
aiohttp goes on reading for ``lingering_time`` before it closes, so that a client that is still
sending gets to see the answer rather than a reset.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from gfs import clock
from gfs.errors import StoreBroken
from sfs_server.auth import (
    ANONYMOUS,
    InvalidToken,
    Subject,
    credential,
    file_subject,
    looks_like_link,
    transfer_subject,
)
from sfs_server.errors import INVALID_TOKEN, Problem, problem_of, refused
from sfs_server.http import check_form, file_target
from sfs_server.logs import CLIENT_GONE, redact
from sfs_server.progress import check_id
from sfs_server.web.audit import write_audit
from sfs_server.web.keys import (
    ACCESS_LOG,
    CLIENT,
    CREDENTIALED,
    IN_URL,
    LIFECYCLE,
    LINK,
    LINKS,
    METRICS,
    PRINCIPAL,
    PROXIES,
    REQUEST_ID,
    TAKEN,
    TRANSFER,
    VERIFIER,
)
from sfs_server.web.wire import preflight, problem_response, stamp, wants_page

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths where nobody asks who asks: a probe's own credential is not one of ours."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_log = logging.getLogger("sfs.error")

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@web.middleware
async def around(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Answer, count and log one request."""
    began = clock.monotonic()
    app = request.app
    request[REQUEST_ID] = request_id = _request_id(request.headers.get("X-Request-Id"))
    status = CLIENT_GONE
    forwarded = request.headers.getall("X-Forwarded-For", ())
    client = app[PROXIES].client(request.remote, forwarded)
    request[CLIENT] = client or ""
    lifecycle = app[LIFECYCLE]
    lifecycle.running += 1
    try:
        try:
            check_form(request.raw_path, request.version, request.headers)
            answered = preflight(request)
            if answered is None and request.rel_url.raw_path not in _OPEN:
                await _identify(request)
            response = await handler(request) if answered is None else answered
        except web.HTTPException as error:
            response = _from_router(request, error)
        except ConnectionError:
            if request.transport is not None:  # a client that stalls would keep a mere close open
                request.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - the one place where an error becomes an answer
            response = _failed(request, error)
        if not response.prepared:
            stamp(request, response)
            unread = TAKEN in request or (request.body_exists and not request.content.at_eof())
            if unread or hdrs.CONNECTION in response.headers:
                response.force_close()
        if lifecycle.draining:  # also after an answer that began before, and says nothing of it
            response.force_close()
        status = response.status
        return response
    finally:
        lifecycle.running -= 1
        seconds = clock.monotonic() - began
        route = request.match_info.route.resource
        template = route.canonical if route is not None else "unknown"
        method = request.method if request.method in _METHODS else "other"
        app[METRICS].observe(template, method, status, seconds)
        principal = request.get(PRINCIPAL, ANONYMOUS)
        moved = request[TRANSFER].moved if TRANSFER in request else 0
        app[ACCESS_LOG].write(
            request_id, method, template, status, moved, seconds, principal.user, client
        )
        write_audit(request, client, status)


def _request_id(given: str | None) -> str:
    """What a proxy or a client calls the request, if that is fit for a log line and is not a token
    that was put into the wrong field, or an id of our own."""
    if given is None or _ID.fullmatch(given) is None:
        return os.urandom(16).hex()
    if given.count(".") >= 2 and redact(given) != given:  # a JWT has two dots
        return os.urandom(16).hex()
    return given


async def _identify(request: web.Request) -> None:
    """Find out who asks. Problem 401 for a token that is no good, whatever it is asked for."""
    query_token = request.query.get("token") if request.query_string else None
    try:
        token = credential(request.headers, query_token, request.method)
        request[CREDENTIALED] = token is not None
        if token is None:
            request[PRINCIPAL] = ANONYMOUS
            return
        if hdrs.AUTHORIZATION not in request.headers:
            request[IN_URL] = True
            subject = _linked(request) if looks_like_link(token) else None
            if subject is not None:
                request[LINK] = link = request.app[LINKS].open(token, subject)
                request[PRINCIPAL] = link.maker
                return
        request[PRINCIPAL] = await request.app[VERIFIER].verify(token)
    except InvalidToken as error:
        raise Problem(401, str(error), INVALID_TOKEN) from None


def _linked(request: web.Request) -> Subject | None:
    """What a link must be to, if it is to open ``request``, which reads; None where no link does.
    Raises Problem 400 and InvalidName for names that cannot be."""
    raw_path = request.rel_url.raw_path
    if "file" in request.match_info:
        return file_subject(*file_target(raw_path))
    if raw_path == "/sse/progress":
        return transfer_subject(check_id(request.query.get("id", "")))
    return None


def _failed(request: web.Request, error: Exception) -> web.Response:
    """The answer for ``error``, or the end of the connection if an answer has begun."""
    problem = problem_of(error)
    if not refused(problem.status):
        known = problem.status != 500 or isinstance(error, StoreBroken)
        _log.log(
            logging.ERROR if problem.status == 500 else logging.WARNING,
            "%s %s: %s",
            request[REQUEST_ID],
            type(error).__name__,
            error,
            exc_info=None if known else error,
        )
    if request.writer.output_size:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the answer had begun") from error
    return _answer(request, problem)


def _from_router(request: web.Request, error: web.HTTPException) -> web.Response:
    """The response where the router found no such path, or not by this method; and the one to
    OPTIONS of any path, or of the whole service (``*``), by which HAProxy asks whether it lives."""
    options = request.method == "OPTIONS"
    if options and request.rel_url.raw_path == "*":
        return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(sorted(_METHODS))})
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
        if options:
            return web.Response(status=204, headers={hdrs.ALLOW: allow})
        return _answer(request, Problem(405, f"This path takes {allow}.", {hdrs.ALLOW: allow}))
    if error.status == 404:
        return _answer(request, Problem(404, "There is nothing at this path."))
    return _answer(request, Problem(error.status, error.reason))


def _answer(request: web.Request, problem: Problem) -> web.Response:
    return problem_response(problem, page=wants_page(request.headers))
