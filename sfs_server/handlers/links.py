"""Creating links: URLs with a token in them, by which anyone can read one file or one folder, or
watch one transfer, for some time."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gfs.errors import IsFolder
from gfs.paths import check_path
from sfs_server.auth import (
    DEFAULT_TTL,
    MAX_TTL,
    Action,
    InvalidToken,
    Namespace,
    Subject,
    file_subject,
    folder_subject,
    transfer_subject,
)
from sfs_server.errors import INVALID_TOKEN, Problem
from sfs_server.handlers.json_body import members, refuse_misread, string
from sfs_server.http import check_namespace, download_path, file_path, folder_path
from sfs_server.logs import Change
from sfs_server.progress import check_id
from sfs_server.web import CHANGE, FILESYSTEM, LINKS, PRINCIPAL, permitted

_TTL = 'say how long the link is good in "ttl", in seconds'
_UNSUPPORTED = {
    "password": "a link has no password, and opens for anyone who has it",  # nosec B105
    "kept": "a link cannot be withdrawn; it ends by itself",
    "upload": "a link can only be used to read",
    **dict.fromkeys(("expires", "expires_at", "expires_in", "expiry", "expiration"), _TTL),
}
"""Members that are refused: if they were ignored, the link would allow more than the client wants
it to."""


async def create_link(request: web.Request) -> web.Response:
    """POST ``/storage/links`` with ``{"namespace", "file", "ttl": 300}``, or ``"folder"`` instead
    of ``"file"``; or, for the events of a transfer, with ``{"transfer", "ttl": 300}``."""
    wanted = await members(request)
    refuse_misread(wanted, ("namespace", "file", "folder", "transfer", "ttl"), _UNSUPPORTED)
    if "transfer" in wanted:
        made = _to_transfer(request, wanted)
    elif wanted.get("folder") is not None:
        made = await _to_folder(request, wanted)
    else:
        made = await _to_file(request, wanted)
    return web.json_response(made, status=201, headers={"Cache-Control": "no-store"})


async def _to_file(request: web.Request, wanted: dict[str, Any]) -> dict[str, object]:
    directory = check_namespace(string(wanted, "namespace"))
    path = check_path(string(wanted, "file"))
    request[CHANGE] = Change("create a link", directory, path)
    ttl = _ttl(wanted)
    namespace = await permitted(request, Action.READ, directory)
    try:
        await request.app[FILESYSTEM].stat(directory, path)
    except IsFolder:
        raise Problem(409, 'That is a folder: call it "folder" instead of "file".') from None
    token, expires_at = _make(request, file_subject(directory, path), namespace, ttl)
    return {
        "url": f"{file_path(directory, path)}?token={token}",
        "download_url": f"{download_path(directory, path)}?token={token}",
        "expires_at": expires_at,
    }


async def _to_folder(request: web.Request, wanted: dict[str, Any]) -> dict[str, object]:
    if wanted.get("file") is not None:
        raise Problem(400, 'A link is to a "file" or to a "folder": leave one of them out.')
    directory = check_namespace(string(wanted, "namespace"))
    path = string(wanted, "folder")
    path = check_path(path) if path else ""
    request[CHANGE] = Change("create a link", directory, path)
    ttl = _ttl(wanted)
    namespace = await permitted(request, Action.READ, directory)
    await request.app[FILESYSTEM].stat_folder(directory, path)
    token, expires_at = _make(request, folder_subject(directory, path), namespace, ttl)
    url = folder_path(directory, path)
    return {
        "url": f"{url}?token={token}",
        "download_url": f"{url}?archive=zip&token={token}",
        "expires_at": expires_at,
    }


def _to_transfer(request: web.Request, wanted: dict[str, Any]) -> dict[str, object]:
    """Whether there is such a transfer, and whether the caller may see it, is decided when the link
    is used: the transfer may start later."""
    for other in ("namespace", "file", "folder"):
        if other in wanted:
            raise Problem(
                400, f'A link is to a "transfer", or to a file or folder: leave out "{other}".'
            )
    id_ = check_id(string(wanted, "transfer"))
    request[CHANGE] = Change("create a link to a transfer")
    maker = request[PRINCIPAL]
    if not maker.granted("files", Action.READ.value):
        # The scopes are not in the link, and the namespace of the transfer is not known yet.
        raise Problem(
            403,
            "The scopes of this API token do not allow this: a link to a transfer needs the right "
            "to read in every namespace.",
        )
    token, expires_at = _make(request, transfer_subject(id_), None, _ttl(wanted))
    return {"url": f"/sse/progress?id={id_}&token={token}", "expires_at": expires_at}


def _make(
    request: web.Request, subject: Subject, namespace: Namespace | None, ttl: int
) -> tuple[str, int]:
    """A token for ``subject``, and the Unix second in which it expires. Raises Problem 401 if the
    caller's own token has expired, and is still accepted only because clocks may differ."""
    try:
        return request.app[LINKS].make(request[PRINCIPAL], subject, namespace, ttl)
    except InvalidToken as error:
        raise Problem(401, str(error), INVALID_TOKEN) from None


def _ttl(wanted: dict[str, Any]) -> int:
    ttl = wanted.get("ttl", DEFAULT_TTL)
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= MAX_TTL:
        raise Problem(400, f'The member "ttl" is a number of seconds from 1 to {MAX_TTL}.')
    if ttl != int(ttl):
        raise Problem(400, 'The member "ttl" is a whole number of seconds.')
    return int(ttl)
