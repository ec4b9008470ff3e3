"""Who is asking: the principal of each request, from a token or a link, or a 401; and the namespace
that they may use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from gfs.paths import check_path
from sfs_server.auth import (
    ANONYMOUS,
    Action,
    InvalidToken,
    Namespace,
    Subject,
    credential,
    looks_like_link,
    require,
    subjects_of,
    transfer_subject,
)
from sfs_server.errors import INVALID_TOKEN, Problem
from sfs_server.http import check_namespace, target
from sfs_server.progress import check_id
from sfs_server.web.keys import (
    CONFIG,
    CREDENTIALED,
    IN_URL,
    LINK,
    LINKS,
    NAMESPACES,
    PRINCIPAL,
    VERIFIER,
)

_OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths where a credential is not checked: the one that a probe sends may be of another service."""


@web.middleware
async def identify(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Set PRINCIPAL and CREDENTIALED of the request, and LINK if its credential is a link. Raises
    Problem 401 for a credential that is not valid, whatever the request is for."""
    if request.rel_url.raw_path in _OPEN:
        return await handler(request)
    query_token = request.query.get("token") if request.query_string else None
    try:
        token = credential(request.headers, query_token, request.method)
        request[CREDENTIALED] = token is not None
        if token is None:
            request[PRINCIPAL] = ANONYMOUS
        elif hdrs.AUTHORIZATION in request.headers:
            request[PRINCIPAL] = await request.app[VERIFIER].verify(token)
        else:
            request[IN_URL] = True
            subjects = _subjects(request) if looks_like_link(token) else []
            if not subjects:
                request[PRINCIPAL] = await request.app[VERIFIER].verify(token)
            else:
                request[LINK] = link = request.app[LINKS].open(token, subjects)
                request[PRINCIPAL] = link.maker
    except InvalidToken as error:
        raise Problem(401, str(error), INVALID_TOKEN) from None
    del token, query_token  # which a response that lasts for hours need not hold
    return await handler(request)


def _subjects(request: web.Request) -> list[Subject]:
    """What a link must be for, one of these, if it is to open this request; nothing where no link
    can. Raises Problem 400 and InvalidName for names that cannot be."""
    raw_path = request.rel_url.raw_path
    if "namespace" in request.match_info:
        named = target(raw_path)
        return subjects_of(named.namespace, named.path, folder=named.folder)
    if raw_path == "/sse/changes":
        namespace = check_namespace(request.query.get("namespace", ""))
        folder = request.query.get("folder", "")
        return subjects_of(namespace, check_path(folder) if folder else "", folder=True)
    if raw_path == "/sse/progress":
        return [transfer_subject(check_id(request.query.get("id", "")))]
    return []


async def permitted(
    request: web.Request, action: Action, name: str, *, stale_ok: bool = False
) -> Namespace:
    """The namespace ``name``, in which the caller may do ``action``.

    Raises Problem 401, 403 or 404 if they may not, and DatabaseUnavailable if that cannot be found
    out. A link opens files only in the namespace in which it was made, and not in another one that
    has its name by now. ``stale_ok``: for reads, a row that was cached a while ago does while the
    database is unavailable.
    """
    app, principal = request.app, request[PRINCIPAL]
    namespace = await app[NAMESPACES].resolve(name, principal, stale_ok=stale_ok)
    if LINK in request:
        namespace = request[LINK].same(namespace)
    return require(principal, action, namespace, anonymous_read=app[CONFIG].anonymous_read)
