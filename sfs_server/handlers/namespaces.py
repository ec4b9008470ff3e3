"""Namespaces: list them, create one, hide or show it, delete it."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import hdrs, web

from gfs.threads import shielded
from sfs_server.auth import DEFAULT_NAMESPACE, Action, Namespace, require_creating, signed_in
from sfs_server.errors import Problem
from sfs_server.handlers.json_body import members, refuse_misread, string
from sfs_server.http import check_namespace, decode, limit_of, next_page
from sfs_server.logs import Change
from sfs_server.namespaces import Total
from sfs_server.transfer import ClientSocket
from sfs_server.web import (
    CHANGE,
    CONFIG,
    FILESYSTEM,
    NAMESPACES,
    PRINCIPAL,
    done,
    permitted,
)

PAGE = 1000
"""Namespaces that are read before they are sent, in a list of all."""

_JSON = "application/json; charset=utf-8"
_HEADERS = {hdrs.CACHE_CONTROL: "private, no-cache"}

_NUMBERS = {0: "private", 1: "unlisted", 2: "public"}
"""Numbers that some clients send for a visibility."""

_UNSUPPORTED = {
    "retention_days": "files are kept until they are deleted",
    "quota_bytes": "a namespace has no quota of its own",
}

_Listed = tuple[Namespace, Total | None]
"""A namespace, and what it has; None where that is not known."""


async def list_namespaces(request: web.Request) -> web.StreamResponse:
    """GET ``/storage/namespaces``: those that the caller may see, each with the number of its files
    and their size; or one page of them if there is a ``limit``."""
    limit, after = limit_of(request.query), request.query.get("after", "")
    found = await _listed(request, after, (limit or PAGE) + 1)
    if limit is None and len(found) > PAGE:
        return await _stream(request, found)
    page = found[: limit or PAGE]
    headers = dict(_HEADERS)
    if len(found) > len(page):
        headers[hdrs.LINK] = next_page(request.path, request.query, page[-1][0].name)
    return web.json_response([_described(*one) for one in page], headers=headers)


async def _stream(request: web.Request, found: list[_Listed]) -> web.StreamResponse:
    """Send all namespaces page by page; ``found`` are the first."""
    response = web.StreamResponse(headers={**_HEADERS, hdrs.CONTENT_TYPE: _JSON})
    client = ClientSocket(request)
    await client.start(response)
    if request.method == "HEAD":
        return response
    opening = b"["
    while found:
        described = [_described(*one) for one in found]
        await client.write(opening + json.dumps(described)[1:-1].encode())
        opening = b", "
        found = await _listed(request, found[-1][0].name, PAGE)
    await client.write(b"]")
    return response


async def _listed(request: web.Request, after: str, limit: int) -> list[_Listed]:
    anonymous_read = request.app[CONFIG].anonymous_read
    return await request.app[NAMESPACES].list(
        request[PRINCIPAL], anonymous_read=anonymous_read, after=after, limit=limit
    )


async def create_namespace(request: web.Request) -> web.Response:
    """POST ``/storage/namespaces`` with ``{"name", "hidden": false}``."""
    app, principal = request.app, request[PRINCIPAL]
    request[CHANGE] = change = Change(Action.CREATE_NAMESPACE.value)
    signed_in(principal)
    wanted = await members(request)
    change.namespace = name = check_namespace(string(wanted, "name"))
    require_creating(principal, name)
    hidden = _hidden(wanted, "internal") or False
    limit = 0 if principal.admin else app[CONFIG].max_namespaces
    await app[NAMESPACES].require_fewer(principal.user, limit)
    # The directory first: a crash in between leaves one that is empty, and that nobody can see.
    await app[FILESYSTEM].make_directory(name)
    created = await app[NAMESPACES].create(name, hidden=hidden, owner=principal.user, limit=limit)
    return _json(_described(created, Total(0, 0)), status=201)


async def update_namespace(request: web.Request) -> web.Response:
    """PUT ``/storage/namespaces/:name`` with ``{"hidden": true}``."""
    namespace = await _target(request, Action.UPDATE_NAMESPACE)
    public = namespace.name == DEFAULT_NAMESPACE and request.app[CONFIG].anonymous_read
    hidden = _hidden(await members(request), "public" if public else "internal")
    if hidden is None:
        raise Problem(400, 'The member "hidden" is missing: it is true or false.')
    updated = await request.app[NAMESPACES].update(namespace, hidden=hidden)
    if updated is None:
        raise Problem(404, "There is no such namespace.")
    return _json(_described(updated, await request.app[NAMESPACES].total(updated)))


async def delete_namespace(request: web.Request) -> web.Response:
    """DELETE ``/storage/namespaces/:name``, and every file in it."""
    namespace = await _target(request, Action.DELETE_NAMESPACE)
    await shielded(done(_delete(request, namespace), request[CHANGE]))
    return _json({"status": "ok"})


async def _delete(request: web.Request, namespace: Namespace) -> None:
    async with request.app[NAMESPACES].deleting(namespace):
        await request.app[FILESYSTEM].remove_directory(namespace.name)


async def _target(request: web.Request, action: Action) -> Namespace:
    name = check_namespace(decode(request.rel_url.raw_path.rsplit("/", 1)[1]))
    request[CHANGE] = Change(action.value, name)
    return await permitted(request, action, name)


def _described(namespace: Namespace, total: Total | None) -> dict[str, object]:
    return {
        "name": namespace.name,
        "count": None if total is None else total.files,
        "bytes": None if total is None else total.size,
        "hidden": namespace.hidden,
        "owner": namespace.owner,
        "created_at": int(namespace.created_at.timestamp()),
    }


def _hidden(wanted: dict[str, Any], shown: str) -> bool | None:
    """Whether the namespace is to be hidden; None if the body does not say. ``shown`` is what
    ``visibility`` is called when the namespace is not hidden. Raises Problem 400."""
    refuse_misread(wanted, ("name", "hidden", "visibility"), _UNSUPPORTED)
    given = set()
    if "hidden" in wanted:
        if not isinstance(wanted["hidden"], bool):
            raise Problem(400, 'The member "hidden" is not true or false.')
        given.add(wanted["hidden"])
    if "visibility" in wanted:
        given.add(_hides(wanted["visibility"], shown))
    if len(given) > 1:
        raise Problem(400, 'The members "hidden" and "visibility" contradict each other.')
    return given.pop() if given else None


def _hides(visibility: object, shown: str) -> bool:
    """Whether a namespace with this ``visibility`` is hidden. Raises Problem 400 for a visibility
    that is neither: the namespace must not be more open than the client wants."""
    name = _NUMBERS.get(visibility) if type(visibility) is int else visibility
    if name == "private":
        return True
    if name == shown:
        return False
    raise Problem(
        400, f'The "visibility" of this namespace can be "private" (or 0) or "{shown}", no other.'
    )


def _json(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers=_HEADERS)
