"""The audit log: one line for each request that changes something, or wanted to.

It says who, what, where and what came of it: ``done``, ``refused`` (4xx), ``failed`` (5xx), or
``abandoned`` where the client left before anything was done. A handler says what it is about to
do; :mod:`sfs_server.web.request_log` writes the line when the request is over.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from aiohttp import web

from sfs_server.logs import Change
from sfs_server.web.keys import CHANGE

_T = TypeVar("_T")


def changing(
    request: web.Request, action: str, namespace: str | None = None, file: str | None = None
) -> Change:
    """Note what ``request`` is to change, before it can be refused."""
    request[CHANGE] = change = Change(action, namespace, file)
    return change


async def done(work: Awaitable[_T], change: Change) -> _T:
    """Return what ``work`` returns, and note that with it the change is made, whether or not the
    client is still there for the response."""
    result = await work
    change.done = True
    return result
