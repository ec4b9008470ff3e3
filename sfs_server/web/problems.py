"""The one place where errors become responses.

An error before the first byte of a response becomes ``application/problem+json`` (RFC 9457), or a
small page for a person's browser. One that comes later can only be shown by the connection: it is
reset, so that a body that is too short cannot look whole.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from gfs.errors import StoreBroken
from sfs_server.errors import Problem, problem_of, refused
from sfs_server.http import METHODS, check_form, wants_page
from sfs_server.web.error_page import POLICY, error_page
from sfs_server.web.keys import REQUEST_ID

_log = logging.getLogger("sfs.error")


@web.middleware
async def respond_to_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Make a response of each error: of a malformed request, of the router, of the handler.

    Raises ConnectionError, with the connection aborted, where the client is gone, or where a
    response had already started.
    """
    try:
        check_form(request.raw_path, request.version, request.headers)
        return await handler(request)
    except web.HTTPException as error:
        return _of_router(request, error)
    except ConnectionError:
        _abort(request)
        raise
    except Exception as error:  # the one place where any error becomes a response
        problem = problem_of(error)
        if not refused(problem.status):
            _report(request[REQUEST_ID], problem, error)
        if request.writer.output_size:
            _abort(request)
            raise ConnectionResetError("the response had started") from error
        return problem_response(problem, page=wants_page(request.headers))


def problem_response(problem: Problem, *, page: bool = False) -> web.Response:
    """The problem document of ``problem`` as a response (RFC 9457), or the page that says the same
    to a person."""
    headers = {
        **problem.headers,
        hdrs.CACHE_CONTROL: "no-store",
        hdrs.CONTENT_TYPE: "text/html; charset=utf-8" if page else "application/problem+json",
        "X-Content-Type-Options": "nosniff",
    }
    if page:
        headers["Content-Security-Policy"] = POLICY
    text = error_page(problem) if page else json.dumps(problem.document())
    return web.Response(
        status=problem.status, reason=problem.title, headers=headers, body=text.encode()
    )


def _report(request_id: str, problem: Problem, error: Exception) -> None:
    """Write to the log why a request failed through no fault of its own; with the traceback, if
    the error is none that is expected."""
    expected = problem.status != 500 or isinstance(error, StoreBroken)
    _log.log(
        logging.ERROR if problem.status == 500 else logging.WARNING,
        "%s %s: %s",
        request_id,
        type(error).__name__,
        error,
        exc_info=None if expected else error,
    )


def _of_router(request: web.Request, error: web.HTTPException) -> web.Response:
    """The response where the router finds no such path, or not by this method; and the one to
    OPTIONS of any path, or of the whole service (``*``), by which HAProxy asks whether it lives."""
    options = request.method == hdrs.METH_OPTIONS
    if options and request.rel_url.raw_path == "*":
        return web.Response(status=204, headers={hdrs.ALLOW: ", ".join(sorted(METHODS))})
    problem = Problem(error.status, error.reason)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allow = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
        if options:
            return web.Response(status=204, headers={hdrs.ALLOW: allow})
        problem = Problem(405, f"This path takes {allow}.", {hdrs.ALLOW: allow})
    elif error.status == 404:
        problem = Problem(404, "There is nothing at this path.")
    return problem_response(problem, page=wants_page(request.headers))


def _abort(request: web.Request) -> None:
    """Reset the connection. To close it would wait until the client has taken all bytes."""
    if request.transport is not None:
        request.transport.abort()
