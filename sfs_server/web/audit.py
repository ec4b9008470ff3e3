"""The audit log: one line for each request that changes something, or wanted to.

It says who, what, where and what came of it: ``done``, ``refused`` (4xx), ``failed`` (5xx), or
``abandoned`` where the client went away before anything was done. A handler only says what it is
about to do; the middleware writes the line when the request is over.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from sfs_server.logs import Change
from sfs_server.web.connection import connection_of
from sfs_server.web.keys import ACCESS_LOG, CHANGE, PRINCIPAL, REQUEST_ID

_T = TypeVar("_T")


def changing(
    request: web.Request, action: str, namespace: str | None = None, file: str | None = None
) -> Change:
    """Say what ``request`` wants to change, before it can be refused."""
    request[CHANGE] = change = Change(action, namespace, file)
    return change


async def done(work: Awaitable[_T], change: Change) -> _T:
    """Return what ``work`` returns, which is the change: it is done, even if the client has gone
    meanwhile and nobody can be told."""
    result = await work
    change.done = True
    return result


def write_audit(request: web.Request, client: str | None, status: int) -> None:
    """Write the line of a request that is over, if it wanted to change something. It says in what
    state the connection is: who lost it does not know what came of the request."""
    change = request.get(CHANGE)
    if change is not None:
        principal = request.get(PRINCIPAL)
        user = None if principal is None else principal.user
        state = connection_of(request).state
        request.app[ACCESS_LOG].audit(request[REQUEST_ID], user, client, change, status, state)
