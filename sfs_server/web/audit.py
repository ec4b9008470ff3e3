"""The audit log: one line for each request that changed something, or tried to.

It says who, what, where and with which result: ``done``, ``refused`` (4xx), ``failed`` (5xx), or
``abandoned`` where the client left before the change was made. A handler sets ``request[CHANGE]``
before it can refuse the request, and makes the change through ``done``. When the request is over,
:mod:`sfs_server.web.request_log` writes the line.

From the same note those who watch a namespace are shown what was changed (``announce``): so nothing
is forgotten where the client left, or where the request failed after the change.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal, TypeVar

from sfs_server.auth import Action
from sfs_server.changes import Changes
from sfs_server.logs import Change

_T = TypeVar("_T")


async def done(work: Awaitable[_T], change: Change) -> _T:
    """Return what ``work`` returns, and note that with it the change is made, whether or not the
    client is still there for the response."""
    result = await work
    change.done = True
    return result


def announce(change: Change, changes: Changes) -> None:
    """Show those who watch what was changed. Waits for nothing."""
    namespace, path = change.namespace, change.file
    if namespace is None:
        return
    if path is None:
        if change.action in (Action.UPDATE_NAMESPACE.value, Action.DELETE_NAMESPACE.value):
            changes.many(namespace)
        return
    match change.action:
        case "upload":
            changes.changed(namespace, path, "file", "put")
        case "delete":
            changes.changed(namespace, path, "file", "deleted")
        case "create a folder":
            changes.changed(namespace, path, "folder", "put")
        case "delete a folder":
            changes.changed(namespace, path, "folder", "deleted")
        case "move" if change.to is not None:
            kind: Literal["file", "folder"] = "folder" if change.folder else "file"
            changes.changed(namespace, path, kind, "deleted")
            changes.changed(*change.to, kind, "put")
