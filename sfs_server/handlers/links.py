"""Links: URLs that open one file, or show one transfer, for a while, without a header."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gfs.paths import check_name
from sfs_server.access import Action, require
from sfs_server.audit import changing
from sfs_server.errors import Problem
from sfs_server.json_body import members, string
from sfs_server.keys import CONFIG, FILESYSTEM, LINKS, NAMESPACES, PRINCIPAL
from sfs_server.links import DEFAULT_TTL, MAX_TTL, file_subject, transfer_subject
from sfs_server.names import check_namespace, download_path, file_path
from sfs_server.progress_types import check_id


async def create_link(request: web.Request) -> web.Response:
    """POST ``/storage/links`` with ``{"namespace", "file", "ttl": 300}``, or, for the events of a
    transfer, with ``{"transfer", "ttl": 300}``."""
    wanted = await members(request)
    if "transfer" in wanted:
        made = _to_transfer(request, wanted)
    else:
        made = await _to_file(request, wanted)
    return web.json_response(made, status=201, headers={"Cache-Control": "no-store"})


async def _to_file(request: web.Request, wanted: dict[str, Any]) -> dict[str, object]:
    app, principal = request.app, request[PRINCIPAL]
    directory = check_namespace(string(wanted, "namespace"))
    name = check_name(string(wanted, "file"))
    changing(request, "create a link", directory, name)
    ttl = _ttl(wanted)
    namespace = await app[NAMESPACES].resolve(directory, request[PRINCIPAL])
    require(principal, Action.READ, namespace, anonymous_read=app[CONFIG].anonymous_read)
    await app[FILESYSTEM].stat(directory, name)
    token, expires_at = app[LINKS].make(principal, file_subject(directory, name), namespace, ttl)
    return {
        "url": f"{file_path(directory, name)}?token={token}",
        "download_url": f"{download_path(directory, name)}?token={token}",
        "expires_at": expires_at,
    }


def _to_transfer(request: web.Request, wanted: dict[str, Any]) -> dict[str, object]:
    """Whether there is such a transfer, and whether the maker may see it, shows when the link is
    used: it may begin after that."""
    for other in ("namespace", "file"):
        if other in wanted:
            raise Problem(400, f'A link is to a "transfer" or to a file: leave out "{other}".')
    id_ = check_id(string(wanted, "transfer"))
    changing(request, "create a link to a transfer")
    subject = transfer_subject(id_)
    token, expires_at = request.app[LINKS].make(request[PRINCIPAL], subject, None, _ttl(wanted))
    return {"url": f"/sse/progress?id={id_}&token={token}", "expires_at": expires_at}


def _ttl(wanted: dict[str, Any]) -> int:
    ttl = wanted.get("ttl", DEFAULT_TTL)
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= MAX_TTL:
        raise Problem(400, f'The member "ttl" is a number of seconds from 1 to {MAX_TTL}.')
    if ttl != int(ttl):
        raise Problem(400, 'The member "ttl" is a whole number of seconds.')
    return int(ttl)
