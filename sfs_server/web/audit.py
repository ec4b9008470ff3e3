"""The audit log: one line for each request that changed something, or tried to.

It says who, what, where and with which result: ``done``, ``refused`` (4xx), ``failed`` (5xx), or
``abandoned`` where the client left before the change was made. A handler sets ``request[CHANGE]``
before it can refuse the request, and makes the change through ``done``. When the request is over,
:mod:`sfs_server.web.request_log` writes the line.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from sfs_server.logs import Change

_T = TypeVar("_T")


async def done(work: Awaitable[_T], change: Change) -> _T:
    """Return what ``work`` returns, and note that with it the change is made, whether or not the
    client is still there for the response."""
    result = await work
    change.done = True
    return result
